"""What a copied layer must carry over beside its configuration, seen through whole models."""

import keras
import numpy as np
import pytest
from keras import layers

import lrpet_tf as lrpet
from tests.oracle import assert_full_rank_is_exact, assert_same_outputs


def _between_dense_layers(*parts):
    return keras.Sequential([keras.Input((8,)), layers.Dense(8, name="first"), *parts, layers.Dense(6, name="last")])


def _own_activation(x):
    return keras.ops.tanh(x) * 2.0


def test_an_adapted_normalization_keeps_what_it_learnt(rng, tmp_path):
    normalization = layers.Normalization()
    normalization.adapt(rng.normal(3.0, 5.0, (50, 8)).astype("float32"))
    model = keras.Sequential([keras.Input((8,)), normalization, layers.Dense(6)])
    data = rng.normal(3.0, 5.0, (4, 8)).astype("float32")
    small = assert_full_rank_is_exact(model, data)
    small.save(tmp_path / "small.keras")
    assert_same_outputs(small, keras.models.load_model(tmp_path / "small.keras"), data)


FUNCTIONS = {
    "lambda": lambda: layers.Lambda(lambda x: x * 2.0),
    "lambda of a function": lambda: layers.Lambda(_own_activation),
    "lambda of an operation": lambda: layers.Lambda(keras.ops.sin),
    "activation": lambda: layers.Activation(_own_activation),
    "dense": lambda: layers.Dense(8, activation=_own_activation),
    "activation layer": lambda: layers.Dense(8, activation=layers.LeakyReLU()),
    "activation layer with weights": lambda: layers.Dense(8, activation=layers.PReLU(alpha_initializer="ones")),
}


@pytest.mark.parametrize("make", FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions_of_ones_own_need_no_registration(rng, make):
    model = _between_dense_layers(make())
    small = assert_full_rank_is_exact(model, rng.standard_normal((4, 8)).astype("float32"))
    assert {"first_factor0", "last_factor0"} <= {layer.name for layer in small.layers}


@pytest.mark.tensorflow
def test_vocabularies_are_carried_over():
    import tensorflow as tf

    lookup = layers.StringLookup(output_mode="multi_hot")
    lookup.adapt(["a", "b", "c"])
    inputs = keras.Input((2,), dtype="string")
    model = keras.Model(inputs, layers.Dense(3)(lookup(inputs)))
    small = lrpet.factorize(model, lrpet.make_plan(model, 1.0, keep_if_no_gain=True))
    data = tf.constant([["a", "c"], ["b", "?"]])
    np.testing.assert_allclose(model(data), small(data), atol=1e-6)
