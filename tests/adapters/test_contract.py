import math

import keras
import numpy as np
import pytest
from keras import layers, ops

from lrpet_tf import adapters, decompositions
from lrpet_tf.adapters import KernelAdapter
from lrpet_tf.costs import chain_cost, layer_cost
from lrpet_tf.graph import read_graph
from tests.cases import layer_cases
from tests.oracle import relative_difference

CASES = list(layer_cases())
FORMS = decompositions.DECOMPOSITIONS
case = pytest.mark.parametrize(("make", "shape"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def _model(make, shape):
    inputs = keras.Input(shape)
    layer = make()
    return keras.Model(inputs, layer(inputs)), layer


def _stock(layer, adapter, form, rank, shape):
    """Builds the chain of a layer on an input shape and returns the model and the stock layers."""
    kernel = adapter.to_hwio(ops.convert_to_numpy(layer.kernel))
    stock = adapter.stock_chain(layer, form.factorize(kernel, rank))
    x = inputs = keras.Input(shape)
    for made, _ in stock:
        x = made(x)
    for made, weights in stock:
        made.set_weights(weights)
    return keras.Model(inputs, x), [made for made, _ in stock]


def _full_rank(layer, adapter, form):
    return form.max_rank(adapter.hwio_shape(layer))


@case
@form
def test_full_rank_gives_equal_outputs(rng, make, shape, form):
    model, layer = _model(make, shape)
    if layer.use_bias:
        layer.bias.assign(rng.uniform(0.1, 1.0, layer.bias.shape))
    adapter = adapters.find(layer)
    small, _ = _stock(layer, adapter, form, _full_rank(layer, adapter, form), shape)
    data = rng.standard_normal((3, *shape)).astype("float32")
    expected, received = (ops.convert_to_numpy(each(data)) for each in (model, small))
    assert expected.shape == received.shape
    assert relative_difference(expected, received) < 1e-5


@case
@form
def test_projection_equals_factorization(rng, make, shape, form):
    model, layer = _model(make, shape)
    adapter = adapters.find(layer)
    rank = max(1, _full_rank(layer, adapter, form) // 2)
    small, _ = _stock(layer, adapter, form, rank, shape)
    projected = form.project(adapter.to_hwio(layer.kernel), rank, energy="none").matrix
    layer.kernel.assign(adapter.from_hwio(projected))
    if layer.use_bias:
        small.layers[-1].bias.assign(layer.bias)
    data = rng.standard_normal((3, *shape)).astype("float32")
    assert relative_difference(ops.convert_to_numpy(model(data)), ops.convert_to_numpy(small(data))) < 2e-5


@case
@form
def test_cost_equals_counted_weights_and_positions(make, shape, form):
    model, layer = _model(make, shape)
    adapter = adapters.find(layer)
    rank = max(1, _full_rank(layer, adapter, form) // 2)
    small, stock = _stock(layer, adapter, form, rank, shape)
    shapes = form.factor_shapes(adapter.hwio_shape(layer), rank)
    calls = read_graph(model).calls_of(layer)
    cost = chain_cost(layer, adapter, calls, shapes)
    assert cost.params == small.count_params()
    assert layer_cost(layer, adapter, calls).params == layer.count_params()
    # Counted from the outputs: every output value takes as many products as its kernel has rows.
    outputs = [math.prod(made.output.shape[1:]) for made in stock]
    rows = [math.prod(made.kernel.shape[:-1]) for made in stock]
    assert cost.macs == sum(map(math.prod, zip(outputs, rows, strict=True)))
    dense = math.prod(layer.output.shape[1:]) * math.prod(layer.kernel.shape[:-1])
    assert layer_cost(layer, adapter, calls).macs == dense


@case
@form
def test_attributes_are_kept(make, shape, form):
    _, layer = _model(make, shape)
    layer.trainable = False
    adapter = adapters.find(layer)
    _, stock = _stock(layer, adapter, form, 2, shape)
    assert [made.name for made in stock] == ["layer_factor0", "layer"]
    assert all(type(made) in (layers.Conv2D, layers.Dense) for made in stock)
    last = stock[-1]
    assert last.activation is layer.activation
    assert all(made.activation is keras.activations.linear and not made.use_bias for made in stock[:-1])
    for made in stock:
        assert made.kernel_regularizer is layer.kernel_regularizer
        assert made.kernel_constraint is layer.kernel_constraint
        assert made.dtype_policy == layer.dtype_policy
        assert not made.trainable
    for name in ("bias_regularizer", "bias_constraint", "activity_regularizer", "use_bias"):
        assert getattr(last, name) is getattr(layer, name)


@pytest.mark.parametrize("policy", ["mixed_float16", "bfloat16", "float64"])
def test_dtype_policy_is_kept(policy):
    _, layer = _model(lambda: layers.Conv2D(8, 3, dtype=policy, name="layer"), (9, 9, 4))
    _, stock = _stock(layer, adapters.find(layer), FORMS["channel"], 2, (9, 9, 4))
    assert {made.dtype_policy.name for made in stock} == {policy}


@pytest.mark.tensorflow
def test_channels_first_keeps_its_format():
    inputs = keras.Input((4, 9, 9))
    layer = layers.Conv2D(8, 3, strides=2, data_format="channels_first", name="layer")
    model = keras.Model(inputs, layer(inputs))
    adapter = adapters.find(layer)
    _, stock = _stock(layer, adapter, FORMS["channel"], 2, (4, 9, 9))
    assert [made.data_format for made in stock] == ["channels_first"] * 2
    assert stock[-1].output.shape == layer.output.shape
    assert layer_cost(layer, adapter, read_graph(model).calls_of(layer)).macs == 4 * 4 * 8 * 36


COUNTED = {
    layers.DepthwiseConv1D: (lambda: layers.DepthwiseConv1D(3), (9, 4), 7 * 4 * 3),
    layers.DepthwiseConv2D: (lambda: layers.DepthwiseConv2D(3, depth_multiplier=2), (9, 9, 4), 7 * 7 * 8 * 9),
    layers.Conv1D: (lambda: layers.Conv1D(5, 3), (9, 4), 7 * 5 * 12),
    layers.Conv3D: (lambda: layers.Conv3D(5, 3), (5, 5, 5, 2), 27 * 5 * 54),
    layers.Conv1DTranspose: (lambda: layers.Conv1DTranspose(5, 3, strides=2), (9, 4), 9 * 4 * 3 * 5),
    layers.Conv2DTranspose: (lambda: layers.Conv2DTranspose(5, 3, strides=2), (6, 6, 4), 36 * 4 * 9 * 5),
    layers.Conv3DTranspose: (lambda: layers.Conv3DTranspose(5, 2, strides=2), (3, 3, 3, 2), 27 * 2 * 8 * 5),
    layers.SeparableConv1D: (lambda: layers.SeparableConv1D(5, 3), (9, 4), 7 * 4 * 3 + 7 * 4 * 5),
    layers.TimeDistributed: (lambda: layers.TimeDistributed(layers.Conv2D(5, 3)), (7, 9, 9, 4), 7 * 49 * 5 * 36),
    layers.SeparableConv2D: (lambda: layers.SeparableConv2D(5, 3), (9, 9, 4), 49 * 4 * 9 + 49 * 4 * 5),
}


def test_every_adapter_is_tested():
    own = {type(make()) for _, make, _ in CASES}
    known = own | set(COUNTED) | {kind for kind in adapters.ADAPTERS if kind.__name__.startswith("LowRank")}
    assert set(adapters.ADAPTERS) == known


@pytest.mark.parametrize("kind", COUNTED, ids=lambda kind: kind.__name__)
def test_left_alone_but_counted(kind):
    make, shape, macs = COUNTED[kind]
    model, layer = _model(make, shape)
    adapter = adapters.find(layer)
    assert not isinstance(adapter, KernelAdapter)
    assert adapter.why_unsupported(layer)
    assert layer_cost(layer, adapter, read_graph(model).calls_of(layer)) == (macs, layer.count_params())


def test_reasons_for_what_cannot_be_factorized():
    _, grouped = _model(lambda: layers.Conv2D(8, 3, groups=2), (9, 9, 4))
    assert "groups=2" in adapters.why_unsupported(grouped)
    _, lora = _model(lambda: layers.Dense(8, lora_rank=2), (9,))
    assert "LoRA" in adapters.why_unsupported(lora)

    class Mine(layers.Conv2D):
        pass

    _, subclass = _model(lambda: Mine(8, 3), (9, 9, 4))
    assert "Mine" in adapters.why_unsupported(subclass)


@pytest.mark.tensorflow
def test_a_quantized_layer_is_left_alone():
    _, dense = _model(lambda: layers.Dense(8), (9,))
    dense.quantize("int8")
    assert "quantized (int8)" in adapters.why_unsupported(dense)


def test_grouped_convolutions_count_their_groups():
    model, grouped = _model(lambda: layers.Conv2D(8, 3, groups=2), (9, 9, 4))
    macs = layer_cost(grouped, adapters.find(grouped), read_graph(model).calls_of(grouped)).macs
    assert macs == 7 * 7 * 8 * 9 * 2


def test_np_arrays_pass_through_hwio():
    dense = adapters.ADAPTERS[layers.Dense]
    kernel = np.arange(12.0).reshape(3, 4)
    np.testing.assert_array_equal(dense.from_hwio(dense.to_hwio(kernel)), kernel)
