"""A search on a small model, data of noise, and a score whose optimum is known. What imports it is skipped without Optuna."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from lrpet_tf.search import search_ranks

pytest.importorskip("optuna")


def mlp(compiled=True):
    keras.utils.set_random_seed(0)
    sizes = [("a", 24), ("b", 24), ("c", 24)]
    parts = [layers.Dense(size, activation="relu", name=name) for name, size in sizes]
    model = keras.Sequential([keras.Input((24,)), *parts, layers.Dense(4, name="head")])
    if compiled:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    return model


def convs():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(16, 3, padding="same", use_bias=False, name="conv")(inputs)
    x = layers.Dropout(0.2)(layers.ReLU()(layers.BatchNormalization(name="bn")(x)))
    x = layers.Conv2D(16, 3, use_bias=False, name="conv2")(x)
    x = layers.GlobalAveragePooling2D()(layers.BatchNormalization(name="bn2")(x))
    model = keras.Model(inputs, layers.Dense(4, name="head")(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss, metrics=["accuracy"])
    return model


def data(shape=(24,), count=100):
    rng = np.random.default_rng(0)
    return rng.standard_normal((count, *shape)).astype("float32"), rng.integers(0, 4, count)


WORTH = {"a": 0.6, "b": 0.1, "c": 0.3}


def share_kept(model, name):
    kernel = ops.convert_to_numpy(model.get_layer(name).kernel)
    return np.linalg.matrix_rank(kernel.astype("float64"), tol=1e-4) / min(kernel.shape)


def worth(model):
    """A score that is known: each rank of a layer is worth the same, those of layer "a" most."""
    return sum(value * share_kept(model, name) for name, value in WORTH.items())


def search(model=None, train=None, **options):
    options = {"trials": 8, "score": worth, "verbose": False, "exclude": "head", **options}
    return search_ranks(model or mlp(), train or data(), **options)


def facts(result):
    return [(each.number, each.state, each.ratios, each.cost, each.score, each.value) for each in result.trials]


def state(model):
    variables = [*model.variables, *(model.optimizer.variables if model.optimizer.built else [])]
    return [np.array(ops.convert_to_numpy(variable)) for variable in variables]
