"""Ranges, memory and names of converted models, against values by hand."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from lrpet_tf import errors, litert

pytestmark = pytest.mark.tensorflow


def test_ranges_are_those_of_the_keras_model(rng):
    inputs = keras.Input((6,), name="facts")
    hidden = layers.Dense(5, name="hidden")(inputs)
    outputs = layers.Dense(3, name="out")(ops.tanh(hidden))
    model, data = keras.Model(inputs, outputs), rng.standard_normal((9, 6)).astype("float32")
    converted = litert.convert(model)
    found = litert.activation_ranges(converted, [data])
    by_layer = {litert.layers_of(name, converted.scopes): values for name, values in found.items()}
    for symbol, key in ((hidden, ("hidden",)), (ops.tanh(hidden), ("tanh",))):
        values = keras.Model(inputs, symbol).predict(data, verbose=0)
        np.testing.assert_allclose(by_layer[key], (values.min(), values.max()), rtol=1e-5)
    np.testing.assert_array_equal(found["serving_default_facts:0"], (data.min(), data.max()))
    assert len(found) == 4  # neither weights nor biases


def test_an_observer_of_ones_own(rng):
    class Middle(litert.Extremes):
        def range(self):
            low, high = super().range()
            return 0.5 * low, 0.5 * high

    converted = litert.convert(keras.Sequential([keras.Input((6,), name="facts"), layers.Dense(3)]))
    data = rng.standard_normal((5, 6)).astype("float32")
    whole, half = (litert.activation_ranges(converted, [data], each) for each in (litert.Extremes, Middle))
    assert half == {name: (0.5 * low, 0.5 * high) for name, (low, high) in whole.items()}


def test_infinite_values_are_told_with_their_layer():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(2, name="out")(ops.log(inputs)))
    with pytest.raises(errors.ExportError, match="NaN or infinite values come out of 'log'"):
        litert.activation_ranges(litert.convert(model), [np.zeros((1, 4), "float32")])


def test_the_arena_holds_what_is_alive_together():
    """Poolings need no scratch memory: the input and the first result live together, or the results of two in a row."""
    inputs = keras.Input((32, 32, 16))
    x = layers.MaxPooling2D(1)(inputs)  # 64 KiB to 64 KiB
    model = keras.Model(inputs, layers.MaxPooling2D(2)(layers.MaxPooling2D(2)(layers.AveragePooling2D(1)(x))))
    assert litert.arena_bytes(litert.convert(model)) in (2 * 65536, 3 * 65536)  # LiteRT may keep the input


def test_weights_are_not_in_the_arena():
    model = keras.Sequential([keras.Input((16,)), layers.Dense(4096), layers.Dense(16)])
    assert 4 * 4096 <= litert.arena_bytes(litert.convert(model)) <= 4 * (4096 + 64)


def test_tensors_are_named_after_their_layers():
    """Also where Keras numbers the scopes of layers that are called again."""
    inner = keras.Input((8,))
    block = keras.Model(inner, layers.Dense(8, name="dense")(inner), name="block")
    inputs, shared = keras.Input((8,)), layers.Dense(8, name="dense")
    x = layers.Dense(8, activation="tanh", name="dense_1")(ops.sin(shared(shared(inputs))))
    model = keras.Model(inputs, layers.Dense(2, name="end")(block(x)))
    converted = litert.convert(model)
    structure = litert.unpack(converted.content)
    graph = structure.subgraphs[0]
    found = [
        (
            litert.operator_name(structure, each),
            litert.layers_of(litert.text(graph.tensors[each.outputs[0]].name), converted.scopes),
        )
        for each in graph.operators
    ]
    assert found == [
        ("FULLY_CONNECTED", ("dense",)),
        ("FULLY_CONNECTED", ("dense",)),
        ("SIN", ("sin",)),
        ("FULLY_CONNECTED", ("dense_1",)),
        ("TANH", ("dense_1",)),
        ("FULLY_CONNECTED", ("block/dense",)),
        ("FULLY_CONNECTED", ()),
    ]
    assert converted.ends == ("end",)
    assert "call" not in vars(shared)


def test_loops_in_integers_are_refused_and_do_not_bring_the_process_down():
    model = keras.Sequential([keras.Input((6, 4)), layers.LSTM(5, name="lstm"), layers.Dense(2)])
    with pytest.raises(errors.ExportError, match="holds loops.*come from 'lstm'.*unroll=True"):
        litert.convert(model, quantize="int8")
