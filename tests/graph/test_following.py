import keras
import pytest
from keras import layers

from lrpet_tf import adapters
from lrpet_tf.graph import BatchNormFinder, read_graph


def _find(model, path="conv"):
    graph = read_graph(model)
    layer = graph.layers()[path]
    return BatchNormFinder(graph).find(layer, adapters.find(layer))


def _conv(**options):
    return layers.Conv2D(4, 3, padding="same", name="conv", **options)


def _sequence(*parts, shape=(8, 8, 3)):
    return keras.Sequential([keras.Input(shape), *parts])


def test_direct():
    found = _find(_sequence(_conv(), layers.BatchNormalization(name="bn"), layers.ReLU()))
    assert found.batch_norm == "bn"
    assert "alone" in found.reason


@pytest.mark.parametrize("between", [
    layers.Dropout(0.5), layers.SpatialDropout2D(0.5), layers.Activation("linear"), layers.ZeroPadding2D(),
    layers.AveragePooling2D(2), layers.Identity(), layers.GaussianNoise(1.0), layers.Cropping2D(1),
], ids=lambda layer: type(layer).__name__)  # fmt: skip
def test_linear_layers_between_are_passed(between):
    between = type(between).from_config(between.get_config())
    assert _find(_sequence(_conv(), between, layers.BatchNormalization(name="bn"))).batch_norm == "bn"


@pytest.mark.parametrize("between", [
    layers.ReLU(), layers.Activation("relu"), layers.MaxPooling2D(), layers.Flatten(), layers.LayerNormalization(),
    layers.Conv2D(4, 1),
], ids=lambda layer: type(layer).__name__)  # fmt: skip
def test_anything_else_between_is_not(between):
    between = type(between).from_config(between.get_config())
    found = _find(_sequence(_conv(), between, layers.BatchNormalization(name="bn")))
    assert found.batch_norm is None
    assert between.name in found.reason


def test_own_activation():
    found = _find(_sequence(_conv(activation="relu"), layers.BatchNormalization()))
    assert found.batch_norm is None
    assert "activation of its own (relu)" in found.reason


def test_nothing_follows():
    assert "output of the model" in _find(_sequence(_conv())).reason


def test_a_second_consumer():
    inputs = keras.Input((8, 8, 3))
    x = _conv()(inputs)
    found = _find(keras.Model(inputs, layers.Add()([layers.BatchNormalization(name="bn")(x), x])))
    assert found.batch_norm is None
    assert "'bn'" in found.reason
    assert "'add" in found.reason


def test_the_output_is_used_outside_too():
    inputs = keras.Input((8, 8, 3))
    x = _conv()(inputs)
    found = _find(keras.Model(inputs, [layers.BatchNormalization(name="bn")(x), x]))
    assert found.batch_norm is None
    assert "output of the model" in found.reason


def test_pre_activation_block():
    inputs = keras.Input((8, 8, 4))
    x = layers.ReLU()(layers.BatchNormalization(name="bn1")(inputs))
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, name="conv1")(x)
    x = layers.ReLU()(layers.BatchNormalization(name="bn2")(x))
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, name="conv2")(x)
    model = keras.Model(inputs, layers.Add()([x, inputs]))
    assert _find(model, "conv1").batch_norm == "bn2"
    assert _find(model, "conv2").batch_norm is None


def test_shared_convolution():
    def build(first, second):
        inputs = [keras.Input((8, 8, 3)), keras.Input((8, 8, 3))]
        conv = _conv()
        return keras.Model(inputs, [first(conv(inputs[0])), second(conv(inputs[1]))])

    bn = layers.BatchNormalization(name="bn")
    assert _find(build(bn, bn)).batch_norm == "bn"
    found = _find(build(layers.BatchNormalization(name="bn1"), layers.BatchNormalization(name="bn2")))
    assert found.batch_norm is None
    assert "bn1, bn2" in found.reason
    assert _find(build(layers.BatchNormalization(name="bn3"), layers.ReLU())).batch_norm is None


def test_across_the_border_of_a_nested_model():
    inner_in = keras.Input((8, 8, 3))
    inner = keras.Model(inner_in, _conv()(inner_in), name="inner")
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, layers.BatchNormalization(name="bn")(inner(inputs)))
    assert _find(model, "inner/conv").batch_norm == "bn"


def test_another_axis():
    found = _find(_sequence(_conv(), layers.BatchNormalization(axis=1, name="bn")))
    assert found.batch_norm is None
    assert "axis 1" in found.reason


@pytest.mark.tensorflow
def test_channels_first():
    conv = _conv(data_format="channels_first")
    model = _sequence(conv, layers.BatchNormalization(axis=1, name="bn"), shape=(3, 8, 8))
    assert _find(model).batch_norm == "bn"


def test_dense():
    model = _sequence(layers.Dense(4, name="dense"), layers.BatchNormalization(name="bn", scale=False), shape=(8,))
    assert _find(model, "dense").batch_norm == "bn"


class Passing(layers.Layer):
    """A layer made of layers, one of which returns its very input."""

    def __init__(self, *behind, **kwargs):
        super().__init__(**kwargs)
        self.dense, self.dropout, self.behind = layers.Dense(4, name="dense"), layers.Dropout(0.5), list(behind)

    def call(self, x):
        x = self.dropout(self.dense(x))
        for layer in self.behind:
            x = layer(x)
        return x


def test_what_returns_its_very_input_inside_a_layer_is_passed_too():
    found = _find(_sequence(Passing(layers.BatchNormalization(name="bn"), name="own"), shape=(8,)), "own/dense")
    assert found.batch_norm == "own/bn"
    found = _find(_sequence(Passing(name="own"), shape=(8,)), "own/dense")
    assert found.batch_norm is None
    assert "'own/dropout" in found.reason
