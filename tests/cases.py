"""Named layers that the contract tests iterate over."""

from typing import NamedTuple

import keras
import numpy as np
from keras import layers

from lrpet_tf import decompositions
from lrpet_tf.layers import LRPETConv2D, LRPETDense

IMAGE = (13, 11, 6)
ALL = tuple(decompositions.DECOMPOSITIONS)
# For kernels without a spatial extent all forms of two factors are one.
FLAT = ("channel", "tucker2")

CARRIED = {
    "kernel_regularizer": keras.regularizers.L2(1e-4),
    "bias_regularizer": keras.regularizers.L1(1e-4),
    "activity_regularizer": keras.regularizers.L2(1e-5),
    "kernel_constraint": keras.constraints.MaxNorm(3.0),
    "bias_constraint": keras.constraints.NonNeg(),
}
CONVOLUTIONS = {
    "plain": {"kernel_size": 3},
    "same padding": {"kernel_size": 3, "padding": "same"},
    "strided": {"kernel_size": 3, "strides": 2, "padding": "same"},
    "strided valid": {"kernel_size": 3, "strides": (2, 3)},
    "dilated": {"kernel_size": 3, "dilation_rate": 2, "padding": "same"},
    "dilated valid": {"kernel_size": (3, 2), "dilation_rate": (2, 1)},
    "non-square": {"kernel_size": (5, 1), "padding": "same"},
    "wide": {"kernel_size": (1, 4)},
    "pointwise": {"kernel_size": 1},
    "pointwise strided": {"kernel_size": 1, "strides": 2},
    "even": {"kernel_size": 4, "strides": 2, "padding": "same"},
    "no bias": {"kernel_size": 3, "use_bias": False},
    "activation": {"kernel_size": 3, "activation": "relu"},
    "no bias, activation": {"kernel_size": 3, "use_bias": False, "activation": "tanh"},
    "grouped": {"kernel_size": 3, "groups": 2, "strides": 2, "padding": "same", "activation": "relu"},
    "grouped pointwise": {"kernel_size": 1, "groups": 2, "use_bias": False},
    "carried": {"kernel_size": 3, **CARRIED},
}
DENSES = {
    "plain": {},
    "no bias": {"use_bias": False},
    "activation": {"activation": "softmax"},
    "carried": {**CARRIED, "kernel_constraint": keras.constraints.UnitNorm()},
}
EINSUMS = {
    "matrix": ("abc,cd->abd", (None, 9), "d", (5, 12)),
    "sizes that are told": ("abc,cd->abd", (5, 9), "d", (5, 12)),
    "to heads": ("btd,dnh->btnh", (None, 3, 4), "nh", (5, 12)),
    "from heads": ("btnh,nhd->btd", (None, 9), "d", (5, 3, 4)),
    "blocks": ("btnh,nhd->btnd", (None, 3, 7), "nd", (5, 3, 6)),
    "no bias": ("abc,cd->abd", (None, 9), None, (5, 12)),
    "ellipsis": ("...x,xy->...y", 9, "y", (5, 4, 12)),
    "ellipsis behind": ("ax...,xy->ay...", 9, "y", (12, 5)),
}


class Case(NamedTuple):
    """A layer: what makes it, the shape of its input without the batch axis, and the forms that it is tested in."""

    name: str
    make: object
    shape: tuple
    forms: tuple = ALL

    def data(self, count=3):
        """Inputs for it: whole numbers for a table, else normal ones."""
        rng = np.random.default_rng(0)
        if self.name.startswith("Embedding"):
            return rng.integers(0, 20, (count, *self.shape))
        return rng.standard_normal((count, *self.shape)).astype("float32")

    def model(self):
        """A model of the layer alone, with biases that are not zero, and the layer."""
        keras.utils.set_random_seed(0)
        inputs = keras.Input(self.shape, dtype="int32" if self.name.startswith("Embedding") else None)
        layer = self.make()
        model = keras.Model(inputs, layer(inputs))
        rng = np.random.default_rng(1)
        for weight in layer.weights:
            if weight.name == "bias":
                weight.assign(rng.uniform(0.1, 1.0, weight.shape))
        return model, layer


def _cases():
    for name, options in CONVOLUTIONS.items():
        yield Case(f"Conv2D {name}", lambda options=options: layers.Conv2D(8, name="layer", **options), IMAGE)
    yield Case("Conv1D causal", lambda: layers.Conv1D(8, 3, padding="causal", dilation_rate=2, name="layer"), (12, 6))
    yield Case("Conv1D grouped", lambda: layers.Conv1D(8, 3, groups=2, strides=2, name="layer"), (12, 6))
    yield Case("Conv3D", lambda: layers.Conv3D(8, (3, 2, 3), strides=(1, 2, 1), padding="same", name="layer"), (6, 7, 8, 4))
    yield Case("Conv1DTranspose", lambda: layers.Conv1DTranspose(8, 3, strides=2, name="layer"), (7, 5))
    same = {"strides": 2, "padding": "same", "name": "layer", **CARRIED}
    yield Case("Conv2DTranspose carried", lambda: layers.Conv2DTranspose(8, 3, **same), (7, 6, 5))
    padded = {"strides": (3, 2), "output_padding": (1, 1), "activation": "tanh", "name": "layer"}
    yield Case("Conv2DTranspose output padding", lambda: layers.Conv2DTranspose(8, (4, 3), **padded), (7, 6, 5))
    yield Case("Conv3DTranspose", lambda: layers.Conv3DTranspose(6, 3, strides=(2, 1, 2), name="layer"), (4, 3, 4, 5))
    separable = {"strides": 2, "padding": "same", "depth_multiplier": 2, "activation": "relu", "name": "layer"}
    yield Case("SeparableConv2D", lambda: layers.SeparableConv2D(10, 3, **separable), (9, 9, 4), FLAT)
    yield Case("SeparableConv1D", lambda: layers.SeparableConv1D(10, 3, use_bias=False, name="layer"), (9, 4), FLAT)
    for name, options in DENSES.items():
        yield Case(f"Dense {name}", lambda options=options: layers.Dense(9, name="layer", **options), (12,), FLAT)
    yield Case("Dense on a sequence", lambda: layers.Dense(9, name="layer"), (5, 12), FLAT)
    yield Case("Dense on images", lambda: layers.Dense(9, name="layer"), (4, 5, 12), FLAT)
    for name, (equation, sizes, bias, shape) in EINSUMS.items():
        options = {"bias_axes": bias, "activation": "relu", "name": "layer"}
        make = lambda equation=equation, sizes=sizes, options=options: layers.EinsumDense(equation, sizes, **options)  # noqa: E731
        yield Case(f"EinsumDense {name}", make, shape, FLAT)
    yield Case("Embedding", lambda: layers.Embedding(20, 12, mask_zero=True, name="layer"), (7,), FLAT)
    yield Case("LSTM", lambda: layers.LSTM(7, return_sequences=True, name="layer"), (5, 6), FLAT)
    yield Case("GRU", lambda: layers.GRU(7, dropout=0.2, name="layer"), (5, 6), FLAT)
    yield Case("SimpleRNN", lambda: layers.SimpleRNN(7, go_backwards=True, name="layer"), (5, 6), FLAT)
    yield Case("Bidirectional", lambda: layers.Bidirectional(layers.LSTM(7), merge_mode="sum", name="layer"), (5, 6), FLAT)
    yield Case("LRPETConv2D", lambda: LRPETConv2D(8, 3, rank=0.5, name="layer", strides=2, activation="relu"), IMAGE)
    yield Case("LRPETDense", lambda: LRPETDense(9, rank=3, name="layer", activation="relu"), (12,), FLAT)


CASES = tuple(_cases())
