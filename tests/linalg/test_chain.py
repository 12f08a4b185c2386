import keras
import numpy as np
import pytest
from keras import ops

from lrpet_tf.linalg import Factor, compose


@pytest.mark.parametrize(
    "shapes",
    [
        ((3, 5, 4, 2), (1, 1, 2, 6)),
        ((1, 1, 4, 2), (3, 5, 2, 6)),
        ((3, 1, 4, 2), (1, 5, 2, 6)),
        ((1, 1, 4, 3), (3, 3, 3, 2), (1, 1, 2, 6)),
    ],
    ids=["channel", "input channel", "spatial", "tucker"],
)
def test_composed_kernel_convolves_as_the_chain(rng, shapes):
    chain = tuple(Factor(rng.standard_normal(shape).astype("float32"), ()) for shape in shapes)
    images = rng.standard_normal((2, 9, 9, 4)).astype("float32")
    step_by_step = images
    for factor in chain:
        step_by_step = ops.conv(step_by_step, factor.kernel, padding="valid", data_format="channels_last")
    at_once = ops.conv(images, compose(chain), padding="valid", data_format="channels_last")
    np.testing.assert_allclose(keras.ops.convert_to_numpy(step_by_step), keras.ops.convert_to_numpy(at_once), atol=1e-4)
