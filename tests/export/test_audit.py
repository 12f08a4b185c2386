"""The audit names what stands in the way of integers, with the layers it comes from."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import lrpet_tf as lrpet
from lrpet_tf import errors

pytestmark = pytest.mark.tensorflow


def test_an_island_of_floating_values(tmp_path):
    inputs = keras.Input((8,), name="facts")
    x = layers.Dense(16, name="before")(inputs)
    x = layers.Dense(16, name="after")(ops.sin(ops.floor(x)))
    model = keras.Model(inputs, layers.Dense(3, name="logits")(x))
    data = np.random.default_rng(0).standard_normal((24, 8)).astype("float32")
    report = lrpet.export_tflite(model, tmp_path / "net.tflite", quantize="int8", representative_data=data, min_sqnr_db=-50)
    (island,) = report.audit.float_islands
    assert (sorted(island.operators), sorted(island.layers), island.excluded) == (["FLOOR", "SIN"], ["floor", "sin"], False)
    found = {each.operators[0]: set(each.layers) for each in report.audit.conversions}
    assert found == {"DEQUANTIZE": {"before", "floor"}, "QUANTIZE": {"sin", "after"}}
    assert "on floating values: FLOOR, SIN from 'floor', 'sin'" in str(report)


@pytest.mark.parametrize("nested", [False, True])
def test_operators_that_litert_lacks_are_told_with_their_layers(tmp_path, nested):
    class Odd(layers.Layer):
        def call(self, inputs):
            return ops.lgamma(inputs) if hasattr(ops, "lgamma") else ops.erfinv(inputs)

    inner = keras.Input((16,))
    block = keras.Model(inner, Odd(name="odd")(layers.Dense(16, name="d")(ops.erfinv(ops.tanh(inner)))), name="block")
    inputs = keras.Input((16,))
    model = keras.Model(inputs, layers.Dense(3)(block(inputs)), name="net") if nested else block
    with pytest.raises(errors.ExportError, match="operators that LiteRT does not have") as caught:
        lrpet.export_tflite(model, tmp_path / "net.tflite")
    prefix = "block/" if nested else ""
    assert f"'{prefix}odd' (Odd)" in str(caught.value)
    assert f"'{prefix}erfinv' (Erfinv)" in str(caught.value)
    assert "'d'" not in str(caught.value)
    assert not list(tmp_path.iterdir())
