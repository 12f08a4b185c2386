import keras
import pytest
from keras import layers

from lrpet_tf.errors import UnsupportedModelError
from lrpet_tf.graph import read_graph


def test_nested_models_are_entered_at_each_call_with_its_own_shape():
    inner_in = keras.Input((None, None, 3))
    inner = keras.Model(inner_in, layers.Conv2D(4, 3, padding="same", name="conv")(inner_in), name="inner")
    small, large = keras.Input((8, 8, 3)), keras.Input((16, 16, 3))
    graph = read_graph(keras.Model([small, large], [inner(small), inner(large)]))
    (conv,) = [layer for path, layer in graph.layers().items() if path == "inner/conv"]
    assert {call.output_shape[1] for call in graph.calls_of(conv)} == {8, 16}


def test_sequential_in_sequential_and_shared_layers_keep_the_first_path():
    dense = layers.Dense(4, name="dense")
    first = keras.Sequential([keras.Input((4,)), dense], name="first")
    second = keras.Sequential([keras.Input((4,)), dense], name="second")
    graph = read_graph(keras.Sequential([keras.Input((4,)), first, second]))
    assert [call.path for call in graph.calls] == ["first/dense", "first/dense"]


def test_operations_several_inputs_and_dicts():
    inputs = {"a": keras.Input((4,), name="a"), "b": keras.Input((4,), name="b")}
    x = keras.ops.concatenate([inputs["a"], inputs["b"]], axis=-1) * 2.0
    model = keras.Model(inputs, {"out": layers.Dense(3, name="dense")(x)})
    graph = read_graph(model)
    assert "dense" in graph.layers()
    assert graph.calls[-1].input_shape == (None, 8)
    assert graph.outputs == graph.calls[-1].outputs


class Subclassed(keras.Model):
    def call(self, inputs):
        return inputs


@pytest.mark.parametrize(("model", "message"), [
    (Subclassed(), "Functional, Sequential or subclassed.*not built.*call it once.*class Subclassed"),
    (keras.Sequential([layers.Dense(3)]), "not built.*Input.*class Sequential"),
    ("a model", "not a keras.Model.*class str"),
    (layers.Dense(3), "not a keras.Model.*class Dense"),
], ids=["subclassed", "unbuilt", "text", "layer"])  # fmt: skip
def test_bad_models_name_the_class_and_what_is_supported(model, message):
    with pytest.raises(UnsupportedModelError, match=message):
        read_graph(model)


def test_a_sequential_that_was_built_by_a_call():
    model = keras.Sequential([layers.Dense(3, name="dense")])
    model(keras.ops.zeros((1, 4)))
    assert list(read_graph(model).layers()) == ["dense"]
