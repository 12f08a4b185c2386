"""Small models for the tests of the bridge, and what they are compared with."""

import functools

import keras
import numpy as np
from keras import layers

import lrpet_tf as lrpet
from examples.cifar10.models import resnet
from tests import models
from tests.oracle import set_batch_norm_statistics


def images(*shape, count=4, seed=0):
    return np.random.default_rng(seed).standard_normal((count, *shape)).astype("float32")


def resnet20():
    model = resnet(20)
    set_batch_norm_statistics(model)
    return model, images(32, 32, 3, count=2)


def resnet20_factorized():
    model, data = resnet20()
    plan = lrpet.make_plan(model, 0.3)
    lrpet.Projector(model, plan).project()
    return lrpet.factorize(model, plan), data


def mobilenet():
    model = keras.applications.MobileNet(weights=None, input_shape=(64, 64, 3), alpha=0.25, classes=7)
    set_batch_norm_statistics(model)
    return model, images(64, 64, 3, count=2)


def mlp():
    parts = [
        keras.Input((12,)),
        layers.Dense(16, activation="relu"),
        layers.Dropout(0.3),
        layers.Dense(4, activation="softmax"),
    ]
    return keras.Sequential(parts, name="mlp"), images(12)


def conv1d():
    parts = [
        keras.Input((40, 3)),
        layers.Conv1D(8, 3, activation=layers.ReLU(6), kernel_regularizer="l2"),
        layers.BatchNormalization(),
        layers.MaxPooling1D(),
        layers.SeparableConv1D(6, 3, activation="elu"),
        layers.GlobalAveragePooling1D(),
        layers.Dense(3, activation="hard_sigmoid"),  # another function in tf_keras
    ]
    model = keras.Sequential(parts, name="conv1d")
    set_batch_norm_statistics(model)
    return model, images(40, 3)


def sequences():
    inputs = keras.Input((9,), dtype="int32", name="tokens")
    x = layers.Embedding(20, 8, mask_zero=True)(inputs)
    x = layers.Bidirectional(layers.LSTM(6, return_sequences=True))(x)
    x = layers.GRU(8, return_sequences=True)(x)
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 4)(x, x))
    x = layers.TimeDistributed(layers.Dense(4, activation="hard_silu"))(x)
    return keras.Model(inputs, x, name="sequences"), np.random.default_rng(0).integers(0, 20, (3, 9))


def odd_operations():
    inputs = keras.Input((6, 6, 3), name="in-put")
    x = keras.ops.pad(inputs, ((0, 0), (0, 0), (1, 0), (1, 2)), constant_values=2.0)
    mean = keras.ops.mean(x[:, ::2, ..., :1], axis=1, keepdims=True)
    x = keras.ops.concatenate([x, 2.0 * mean + 0 * x], axis=-1)
    x = layers.LeakyReLU(negative_slope=0.3)(keras.ops.transpose(x, (0, 2, 1, 3)))
    return keras.Model(inputs, [x[..., 0], keras.ops.relu(x - 1)], name="odd"), images(6, 6, 3)


CARRIED = {
    **{name: make for name, make in models.MODELS.items() if name != "own_layers"},
    **{make.__name__: make for make in (resnet20, resnet20_factorized, mobilenet, mlp, conv1d, sequences, odd_operations)},
}


def squeeze_excite():
    """A model with layers that are quantized only in part."""
    inputs = keras.Input((12, 12, 3))
    x = layers.Rescaling(0.5, name="rescaling")(inputs)
    x = layers.Conv2D(8, 3, name="conv")(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(8, 1, activation="sigmoid", name="gate")(gate)
    x = layers.Multiply(name="excite")([x, gate])
    x = layers.BatchNormalization(name="alone")(x)
    x = layers.SeparableConv2D(6, 3, activation="relu6", name="separable")(x)
    x = layers.LayerNormalization(name="norm")(layers.Flatten()(x))
    model = keras.Model(inputs, layers.Dense(3, name="head")(x), name="squeeze_excite")
    set_batch_norm_statistics(model)
    return model, images(12, 12, 3, count=16)


UNSUPPORTED = ("rescaling", "excite", "alone", "norm")


@functools.cache
def _digits():
    from sklearn.datasets import load_digits

    inputs, labels = load_digits(return_X_y=True)
    return (inputs / 16).astype("float32").reshape(-1, 8, 8, 1), labels


def digits():
    """Returns images and labels: 1200 to train on, the others to test on."""
    inputs, labels = _digits()
    return (inputs[:1200], labels[:1200]), (inputs[1200:], labels[1200:])


def factorized(width=16, seed=0):
    """Returns a small factorized network for digits, untrained: `conv1` is a pair, `conv0` and `head` are not."""
    keras.utils.set_random_seed(seed)
    inputs = x = keras.Input((8, 8, 1))
    for index, filters in enumerate((width // 2, 2 * width)):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"conv{index}")(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.8, name=f"bn{index}")(x))
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(10, name="head")(x), name="digits")
    plan = lrpet.make_plan(model, 0.5, exclude=["head", "conv0"])
    lrpet.Projector(model, plan).project()
    return lrpet.factorize(model, plan)


def compiled(model, learning_rate=0.01):
    """Compiles a tf_keras model."""
    import tf_keras

    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf_keras.optimizers.Adam(learning_rate), loss, metrics=["accuracy"])
    return model


def outputs(model, data):
    return [np.asarray(each, "float64") for each in keras.tree.flatten(model.predict(data, verbose=0))]


def distance(model, other, data):
    """Returns the largest difference between the outputs of two models, as a share of the largest output."""
    pairs = zip(outputs(model, data), outputs(other, data), strict=True)
    return max(np.max(np.abs(one - two)) / np.max(np.abs(one)) for one, two in pairs)
