"""Limits: beyond one there is an error that says which stage lost what, and no file."""

import keras
import numpy as np
import pytest

import lrpet_tf as lrpet
from lrpet_tf import errors
from lrpet_tf.export.limits import Limits, check_conversion
from lrpet_tf.export.stages import Labels, compare_stages
from tests.export import nets


def _stages(noise=0.0, answers=None):
    rng = np.random.default_rng(0)
    first = [rng.standard_normal((200, 5))]
    outputs = {
        "Keras model": first,
        "float32 file": [first[0] + 1e-6],
        "int8 file": [first[0] + noise * rng.standard_normal((200, 5))],
    }
    labels = Labels(0, first[0].argmax(1), None) if answers else None
    stages = compare_stages(["logits"], outputs, labels)
    return stages[-1].since_start, stages


def test_what_is_not_asked_for_is_not_checked():
    Limits().check("net", *_stages(100.0))


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(tolerance=0.01), "'logits' differs by .* and 0.01 is allowed"),
        (Limits(min_sqnr_db=30), r"signal-to-noise ratio of output 'logits' is 8\.7 dB, and 30.0 dB is asked for"),
        (Limits(min_top1_agreement=0.99), r"top-1 agreement of output 'logits' is 0.7900, and 0.9900 is asked for"),
        (Limits(max_accuracy_drop=0.003), r"accuracy falls by 0.2100, and 0.0030 is allowed"),
    ],
)
def test_each_limit(limits, message):
    parity, stages = _stages(0.35, answers=True)
    with pytest.raises(errors.ExportError, match=message) as caught:
        limits.check("net", parity, stages)
    assert "float32 file to int8 file" not in str(caught.value).split("Stage by stage")[0]
    assert "Most is lost by the int8 file" in str(caught.value)
    assert "No file was written" in str(caught.value)
    limits.check("net", *_stages(1e-6, answers=True))


def test_accuracy_takes_labels():
    with pytest.raises(errors.ExportError, match="max_accuracy_drop= takes labels"):
        Limits(max_accuracy_drop=0.1).check("net", *_stages())


def test_a_wrong_conversion_is_not_the_quantizers_fault():
    parity, stages = _stages(0.5)
    with pytest.raises(errors.ExportError, match="differs by"):
        check_conversion("net", parity, stages)


@pytest.mark.tensorflow
def test_no_file_and_the_older_one_stays(tmp_path):
    model, data, path = nets.conv_net(), nets.images(), tmp_path / "net.tflite"
    path.write_bytes(b"before")
    with pytest.raises(errors.ExportError, match="200.0 dB is asked for.*exported Keras model to float32 file.*int8 file"):
        lrpet.export_tflite(model, path, quantize="int8", representative_data=data, min_sqnr_db=200)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"net.tflite": b"before"}


@pytest.mark.tensorflow
def test_integers_that_are_broken_are_refused(tmp_path):
    """Scores of a thousandth are less than a step of 8 bits: all of them become nothing."""
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1000, activation="softmax", kernel_initializer="zeros")])
    data = np.random.default_rng(0).standard_normal((20, 8)).astype("float32")
    with pytest.raises(errors.ExportError, match="10.0 dB is asked for"):
        lrpet.export_tflite(model, tmp_path / "net.tflite", quantize="int8", representative_data=data)
    assert not list(tmp_path.iterdir())
