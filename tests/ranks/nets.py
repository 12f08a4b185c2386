"""A small model of every layer that the rules treat apart, and its spectra computed without the library."""

import keras
import numpy as np
from keras import layers, ops

import lrpet_tf as lrpet


def net(seed=0):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((16, 16, 3))
    x = inputs
    for index, filters in enumerate((24, 32, 48)):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False, name=f"conv{index}")(x)
        x = layers.ReLU()(layers.BatchNormalization(name=f"bn{index}")(x))
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.Dense(64, name="hidden")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, layers.Dense(40, name="head")(x), name="net")
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.gamma.assign(rng.uniform(0.1, 3, layer.gamma.shape))
            layer.moving_variance.assign(rng.uniform(0.3, 2, layer.gamma.shape))
    return model


def spectrum(model, path, batch_norm=None):
    """Singular values of a kernel as its batch norm scales it, in NumPy float64."""
    kernel = ops.convert_to_numpy(model.get_layer(path).kernel).astype(np.float64)
    matrix = kernel.reshape(-1, kernel.shape[-1])
    if batch_norm is not None:
        bn = model.get_layer(batch_norm)
        gamma, variance = (ops.convert_to_numpy(each).astype(np.float64) for each in (bn.gamma, bn.moving_variance))
        matrix = matrix * (gamma / np.sqrt(variance + bn.epsilon))
    return np.linalg.svd(matrix, compute_uv=False)


def kept(spectrum, rank):
    return np.sum(spectrum[:rank] ** 2) / np.sum(spectrum**2)


def projected(model, plan):
    lrpet.Projector(model, plan).project()
    return model
