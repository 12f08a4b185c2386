"""Named layers that the contract tests iterate over."""

import keras
from keras import layers

from lrpet_tf.layers import LRPETConv2D, LRPETDense

IMAGE = (13, 11, 6)

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
    "carried": {
        "kernel_size": 3,
        "kernel_regularizer": keras.regularizers.L2(1e-4),
        "bias_regularizer": keras.regularizers.L1(1e-4),
        "activity_regularizer": keras.regularizers.L2(1e-5),
        "kernel_constraint": keras.constraints.MaxNorm(3.0),
        "bias_constraint": keras.constraints.NonNeg(),
    },
}
DENSES = {
    "plain": {},
    "no bias": {"use_bias": False},
    "activation": {"activation": "softmax"},
    "carried": {
        "kernel_regularizer": keras.regularizers.L2(1e-4),
        "activity_regularizer": keras.regularizers.L2(1e-5),
        "kernel_constraint": keras.constraints.UnitNorm(),
    },
}


def layer_cases():
    """Yields `(id, function that makes the layer, shape of its input without the batch axis)`."""
    for name, options in CONVOLUTIONS.items():
        yield f"Conv2D {name}", lambda options=options: layers.Conv2D(8, name="layer", **options), IMAGE
    for name, options in DENSES.items():
        yield f"Dense {name}", lambda options=options: layers.Dense(9, name="layer", **options), (12,)
    yield "Dense on a sequence", lambda: layers.Dense(9, name="layer"), (5, 12)
    yield "Dense on images", lambda: layers.Dense(9, name="layer"), (4, 5, 12)
    yield "LRPETConv2D", lambda: LRPETConv2D(8, 3, rank=0.5, name="layer", strides=2, activation="relu"), IMAGE
    yield "LRPETDense", lambda: LRPETDense(9, rank=3, name="layer", activation="relu"), (12,)
