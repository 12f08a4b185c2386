import keras
import numpy as np
import pytest
from keras import layers

from lrpet_tf import errors, interop
from tests import models
from tests.interop import nets
from tests.oracle import set_batch_norm_statistics

pytestmark = pytest.mark.tensorflow


def _range(model, layer, which):
    """Returns the ends of a range of a quantized layer."""
    variables = {variable.name.split("/")[-1].split(":")[0]: variable for variable in model.get_layer(layer).weights}
    return tuple(float(variables[f"{which}_{end}"].numpy()) for end in ("min", "max"))


@pytest.mark.parametrize("make", [nets.resnet20_factorized, models.branches, models.sequential_of_models, nets.mlp])
def test_it_starts_where_the_float_model_stands(make):
    model, data = make()
    aware = interop.quantize_aware(model, representative_data=data)
    assert all(layer.name.startswith(("quant_", "quantize_layer")) for layer in aware.layers if layer.weights)
    assert 1e-5 < nets.distance(model, aware, data) < 0.1
    for before, after in zip(model.get_weights(), interop.from_tf_keras(aware, model).get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_without_data_it_starts_at_random():
    model, data = nets.mlp()
    assert nets.distance(model, interop.quantize_aware(model), data) > 0.1


def test_the_ranges_are_those_of_the_data():
    """The mean of the ends of the batches, zero included; all of the input; weights channel by channel."""
    inputs = keras.Input((6, 6, 2), name="image")
    x = layers.Conv2D(4, 3, name="first")(inputs)
    x = layers.BatchNormalization(name="bn")(layers.Conv2D(5, 1, use_bias=False, name="pair")(x))
    model = keras.Model(inputs, layers.ReLU(name="relu")(x))
    set_batch_norm_statistics(model)
    batches = [scale * nets.images(6, 6, 2, count=8, seed=seed) + 1 for seed, scale in enumerate((1.0, 2.0, 0.5))]
    aware = interop.quantize_aware(model, representative_data=iter(batches))
    first = [keras.Model(inputs, model.get_layer("first").output).predict(batch, verbose=0) for batch in batches]
    expected = np.mean([each.min() for each in first]), np.mean([each.max() for each in first])
    assert _range(aware, "quant_first", "post_activation") == pytest.approx(expected, rel=0.02)  # its weights are rounded
    low, high = _range(aware, "quant_relu", "output")
    assert low == 0
    assert high == pytest.approx(np.mean([model.predict(batch, verbose=0).max() for batch in batches]), rel=0.05)
    (start,) = [layer for layer in aware.layers if layer.name.startswith("quantize_layer")]
    ends = [float(each.numpy()) for each in start.weights[:2]]
    assert ends == pytest.approx([min(batch.min() for batch in batches), max(batch.max() for batch in batches)])
    kernel = model.get_layer("pair").get_weights()[0]
    (highest,) = [each.numpy() for each in aware.get_layer("quant_pair").weights if "kernel_max" in each.name]
    np.testing.assert_allclose(highest, np.abs(kernel).max(axis=(0, 1, 2)), rtol=1e-6)
    few = interop.quantize_aware(model, representative_data=iter(batches), calibration_batches=1)
    assert _range(few, "quant_first", "post_activation") == pytest.approx((first[0].min(), first[0].max()), rel=0.02)


def test_layers_called_several_times_span_all_their_calls():
    inputs = keras.Input((4,), name="x")
    dense = layers.Dense(3, use_bias=False, name="dense")
    model = keras.Model(inputs, [dense(inputs), dense(keras.layers.Dropout(0.5)(inputs))])
    aware = interop.quantize_aware(model, representative_data=nets.images(4, count=32))
    out = model.predict(nets.images(4, count=32), verbose=0)[0]
    assert _range(aware, "quant_dense", "post_activation") == pytest.approx((out.min(), out.max()), rel=0.02)


def test_a_relu_without_a_batch_norm_leaves_no_weights_in_float():
    """On its own tensorflow-model-optimization quantizes no weights of a layer that a ReLU follows."""
    parts = [
        keras.Input((8, 8, 2)), layers.Conv2D(4, 3, name="conv"), layers.ReLU(), layers.Flatten(),
        layers.Dense(4, activation="relu6", name="dense"), layers.Dense(3, name="head"),
    ]  # fmt: skip
    aware = interop.quantize_aware(keras.Sequential(parts))
    for name in ("conv", "dense", "head"):
        leaves = [weight.name.split("/")[-1] for weight in aware.get_layer(f"quant_{name}").weights]
        assert "kernel_max:0" in leaves
        assert ("post_activation_max:0" in leaves) == (name == "head")  # the others have the range of the ReLU


def test_what_cannot_be_quantized_is_named_before_any_training():
    model, data = nets.squeeze_excite()
    with pytest.raises(errors.UnsupportedLayersError) as caught:
        interop.quantize_aware(model, representative_data=data)
    assert caught.value.paths == nets.UNSUPPORTED
    for part in (
        "4 layers of model 'squeeze_excite'", "'rescaling' (Rescaling)", "'excite' (Multiply)", "'norm' (LayerNormalization)",
        "'alone' (BatchNormalization): a batch norm is quantized only where it is folded", "follows 'excite' (Multiply)",
        "exclude=['rescaling', 'excite', 'alone', 'norm']", "Nothing was trained",
    ):  # fmt: skip
        assert part in str(caught.value)


def _unsupported(layer, shape=(8, 8, 3)):
    inputs = keras.Input(shape)
    return keras.Model(inputs, layer(inputs))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (layers.Conv1D(4, 3, name="it"), (8, 3)),
        (layers.Conv3D(4, 1, name="it"), (2, 2, 2, 3)),
        (layers.SeparableConv1D(4, 3, name="it"), (8, 3)),
        (layers.LSTM(4, name="it"), (8, 3)),
        (layers.GroupNormalization(3, name="it"), (8, 8, 3)),
        (layers.BatchNormalization(name="it"), (8, 8, 3)),
        (layers.EinsumDense("abc,cd->abd", (8, 4), name="it"), (8, 3)),
        (layers.Dense(4, activation="elu", name="it"), (3,)),
        (layers.Activation("hard_silu", name="it"), (3,)),
        (layers.PReLU(name="it"), (3,)),
        (layers.TimeDistributed(layers.Dense(3), name="it"), (8, 3)),
        (lambda x: keras.ops.sin(layers.Dense(3, name="dense")(x)), (3,)),
        (lambda x: layers.MultiHeadAttention(2, 4, name="it")(x, x), (8, 3)),
    ],
)
def test_kinds_that_have_no_quantized_form(layer, shape):
    with pytest.raises(errors.UnsupportedLayersError) as caught:
        interop.quantize_aware(_unsupported(layer, shape))
    assert caught.value.paths in (("it",), ("sin",))


def test_batch_norms_that_cannot_be_folded():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="twice")(inputs)
    y = layers.BatchNormalization(name="beside")(x)
    z = layers.BatchNormalization(name="after_relu")(layers.Conv2D(4, 3, activation="relu", name="conv")(x))
    model = keras.Model(inputs, [x, y, z])
    with pytest.raises(errors.UnsupportedLayersError) as caught:
        interop.quantize_aware(model)
    assert set(caught.value.paths) == {"beside", "after_relu"}
    assert "goes elsewhere too" in str(caught.value)
    assert "activation relu" in str(caught.value)
    with pytest.raises(errors.UnsupportedLayersError, match="(?s)'nested/bn'.*'nested/conv' before it stays in float"):
        nested = keras.Sequential(
            [keras.Input((8, 8, 3)), layers.Conv2D(4, 3, name="conv"), layers.BatchNormalization(name="bn")], name="nested"
        )
        interop.quantize_aware(keras.Model(inputs, nested(inputs)), exclude="nested/conv")


def test_excluded_layers_stay_in_float():
    model, data = nets.squeeze_excite()
    aware = interop.quantize_aware(model, representative_data=data, exclude=list(nets.UNSUPPORTED))
    names = {layer.name for layer in aware.layers}
    assert {*nets.UNSUPPORTED, "quant_conv", "quant_gate", "quant_separable_depthwise", "quant_separable"} <= names
    assert {"rescaling_rounded", "alone_rounded", "norm_rounded"} <= names
    assert not {"excite_rounded", "quant_excite"} & names  # it goes to another layer in float
    assert nets.distance(model, aware, data) < 0.05


def test_structures_of_inputs_and_outputs_are_kept():
    model, data = models.dicts()
    aware = interop.quantize_aware(model, representative_data=data, exclude="sin")
    assert set(aware.predict(data, verbose=0)) == {"score", "logits"}
    assert nets.distance(model, aware, data) < 0.05


def test_wrong_arguments():
    model, data = nets.mlp()
    with pytest.raises(ValueError, match="preserve='all'"):
        interop.quantize_aware(model, preserve="all")
    with pytest.raises(errors.PatternError, match="'nothing'"):
        interop.quantize_aware(model, exclude="nothing")
    with pytest.raises(errors.LowRankError, match="leaves no layer"):
        interop.quantize_aware(model, exclude=".*")
    with pytest.raises(errors.LowRankError, match="nothing to preserve"):
        interop.quantize_aware(model, preserve="sparsity")
    with pytest.raises(errors.LowRankError, match=r"shape \(count, 12\).*Received: shape \(4, 11\)"):
        interop.quantize_aware(model, representative_data=data[:, 1:])
    with pytest.raises(errors.LowRankError, match="at least one sample"):
        interop.quantize_aware(model, representative_data=[])
    two, (left, _) = models.shared_layers()
    with pytest.raises(errors.LowRankError, match="2 inputs.*left, right.*Received: 1 array"):
        interop.quantize_aware(two, representative_data=left, exclude="bn")
    with pytest.raises(errors.UnsupportedModelError):
        interop.quantize_aware(keras.Sequential([layers.Dense(3)]))
