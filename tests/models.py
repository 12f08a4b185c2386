"""Small models of every supported kind, by name; each makes `(model, inputs for it)`."""

import keras
import numpy as np
from keras import layers, ops

from lrpet_tf.layers import LowRankConv2D, LowRankDense, LRPETConv2D, LRPETDense

IMAGE = (12, 12, 3)


def _images(count=4, shape=IMAGE, seed=0):
    return np.random.default_rng(seed).standard_normal((count, *shape)).astype("float32")


def _conv_bn(x, filters, name, **options):
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=name, **options)(x)
    return layers.BatchNormalization(name=f"{name}_bn")(x)


def _block(filters, name):
    inputs = keras.Input((12, 12, filters))
    x = layers.ReLU()(_conv_bn(inputs, filters, "conv1"))
    x = _conv_bn(x, filters, "conv2")
    return keras.Model(inputs, layers.ReLU()(layers.Add()([x, inputs])), name=name)


def sequential():
    parts = [
        keras.Input(IMAGE, name="image"),
        layers.Rescaling(0.5),
        layers.Conv2D(16, 3, activation="relu", name="conv1"),
        layers.Conv2D(16, 3, strides=2, name="conv2"),
        layers.BatchNormalization(name="bn"),
        layers.ReLU(),
        layers.Flatten(),
        layers.Dense(24, activation="relu", name="hidden"),
        layers.Dropout(0.5),
        layers.Dense(10, activation="softmax", name="head"),
    ]
    return keras.Sequential(parts, name="sequential"), _images()


def residual():
    inputs = keras.Input(IMAGE)
    x = layers.ReLU()(_conv_bn(inputs, 16, "stem"))
    x = layers.Add()([x, _conv_bn(x, 16, "body")])
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(5, name="head")(x), name="residual"), _images()


def nested():
    inputs = keras.Input(IMAGE)
    x = layers.ReLU()(_conv_bn(inputs, 16, "stem"))
    block = _block(16, "block")
    x = block(block(x))  # shared: called twice
    head = keras.Sequential(
        [
            keras.Input((12, 12, 16)),
            layers.Conv2D(16, 3, strides=2, name="conv"),
            layers.Flatten(),
            layers.Dense(5, name="out"),
        ],
        name="head",
    )
    outer = keras.Sequential([keras.Input((12, 12, 16)), layers.ReLU(name="act"), head], name="outer")
    return keras.Model(inputs, outer(x), name="nested"), _images()


def sequential_of_models():
    return keras.Sequential(
        [keras.Input(IMAGE), layers.Conv2D(16, 3, padding="same", name="stem"), _block(16, "a"), _block(16, "b")], name="tower"
    ), _images()


def shared_layers():
    inputs = [keras.Input(IMAGE, name="left"), keras.Input(IMAGE, name="right")]
    conv, bn = layers.Conv2D(16, 3, name="conv"), layers.BatchNormalization(name="bn")
    left, right = (layers.Flatten()(layers.ReLU()(bn(conv(each)))) for each in inputs)
    dense = layers.Dense(6, name="dense")
    return keras.Model(inputs, [dense(left), dense(right), left + right], name="siamese"), [_images(seed=1), _images(seed=2)]


def dicts():
    inputs = {"image": keras.Input(IMAGE, name="image"), "meta": keras.Input((7,), name="meta")}
    x = layers.GlobalMaxPooling2D()(layers.Conv2D(16, 3, name="conv")(inputs["image"]))
    x = ops.concatenate([x, ops.sin(inputs["meta"])], axis=-1)
    outputs = {"score": layers.Dense(4, name="score")(x), "logits": layers.Dense(9, name="logits")(x)}
    return keras.Model(inputs, outputs, name="dicts"), {"image": _images(), "meta": _images(shape=(7,))}


def branches():
    inputs = keras.Input(IMAGE)
    a = layers.Conv2D(16, 3, padding="same", dilation_rate=2, activation="relu", name="dilated")(inputs)
    b = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(inputs)
    c = layers.Conv2D(12, 3, padding="same", groups=3, name="grouped")(inputs)
    x = layers.Conv2D(16, (1, 5), name="row")(layers.Concatenate()([a, b, c]))
    x = layers.BatchNormalization(scale=False, name="bn")(x)
    return keras.Model(inputs, [x, a], name="branches"), _images()


def own_layers():
    parts = [
        keras.Input(IMAGE),
        LRPETConv2D(16, 3, rank=0.5, name="declared"),
        layers.BatchNormalization(name="bn"),
        LowRankConv2D(16, 3, rank=4, strides=2, activation="relu", name="chain"),
        layers.Flatten(),
        LRPETDense(12, rank=4, activation="relu", name="declared_dense"),
        LowRankDense(5, rank=2, name="chain_dense"),
    ]
    return keras.Sequential(parts, name="own"), _images()


def mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model, data = residual()
    keras.config.set_dtype_policy("float32")
    return model, data


MODELS = {
    function.__name__: function
    for function in (
        sequential, residual, nested, sequential_of_models, shared_layers, dicts, branches, own_layers,
    )
}  # fmt: skip
