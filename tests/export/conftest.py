import functools

import pytest

from lrpet_tf.export import tflite


@pytest.fixture(autouse=True, scope="session")
def short_timing():
    """Files are timed for a moment here: no test looks at how long they take."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            tflite, "interleaved_latency", functools.partial(tflite.interleaved_latency, seconds=0.02, least_rounds=1)
        )
        yield
