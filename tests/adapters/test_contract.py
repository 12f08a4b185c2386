"""What every family of layers must keep, in every form."""

import math

import keras
import numpy as np
import pytest
from keras import layers, ops

from lrpet_tf import adapters, decompositions
from lrpet_tf.adapters import KernelAdapter
from lrpet_tf.costs import chain_cost, layer_cost
from lrpet_tf.graph import read_graph
from tests.cases import CASES
from tests.oracle import relative_difference

case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
every = pytest.mark.parametrize(
    ("case", "form"),
    [pytest.param(case, decompositions.get(name), id=f"{case.name}-{name}") for case in CASES for name in case.forms],
)


def _stock(layer, form, rank, case, factorize=True):
    """Builds the chain of a layer on its input shape and returns the model and the stock layers."""
    adapter = adapters.find(layer)
    kernel = ops.convert_to_numpy(adapter.read(layer))
    stock = adapter.stock_chain(layer, form.factorize(kernel, rank, groups=adapter.groups(layer)))
    inputs = keras.Input(case.shape, dtype="int32" if case.name.startswith("Embedding") else None)
    model = keras.Model(inputs, adapter.call_chain([made for made, _ in stock], (inputs,), {}))
    for made, weights in stock:
        made.set_weights(weights)
    return model, [made for made, _ in stock]


def _full_rank(layer, form):
    adapter = adapters.find(layer)
    return form.max_rank(adapter.hwio_shape(layer), adapter.groups(layer))


@every
def test_full_rank_gives_equal_outputs(case, form):
    model, layer = case.model()
    small, _ = _stock(layer, form, _full_rank(layer, form), case)
    expected, received = (ops.convert_to_numpy(each(case.data())) for each in (model, small))
    assert expected.shape == received.shape
    assert relative_difference(expected, received) < 1e-5


@every
def test_projection_equals_factorization(case, form):
    model, layer = case.model()
    adapter = adapters.find(layer)
    rank = max(1, _full_rank(layer, form) // 2)
    small, _ = _stock(layer, form, rank, case)
    before = ops.convert_to_numpy(model(case.data()))
    projected = form.project(adapter.read(layer), rank, energy="none", groups=adapter.groups(layer)).matrix
    adapter.write(layer, projected)
    after = ops.convert_to_numpy(model(case.data()))
    assert relative_difference(after, ops.convert_to_numpy(small(case.data()))) < 2e-5
    assert relative_difference(before, after) > 1e-4


def _positions(model, layer):
    """Counted from the shapes: how often a stock layer's kernels are met, kernel by kernel."""
    (call,) = read_graph(model).calls_of(layer)
    if isinstance(layer, layers.Embedding):
        return []
    if isinstance(layer, (layers.RNN, layers.Bidirectional)):
        steps = call.input_shape[1]
        return [(steps, weight) for weight in layer.weights if weight.name in ("kernel", "recurrent_kernel")]
    transposed = isinstance(layer, (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose))
    spatial = (call.input_shape if transposed else call.output_shape)[1:-1]
    if isinstance(layer, layers.EinsumDense):
        inputs, kernel = layer.equation.replace("...", "").split("->")[0].split(",")
        shape = call.input_shape[1:]
        named = len(inputs) - (0 if layer.equation.startswith("...") else 1)
        elided = math.prod(shape[: len(shape) - named] if layer.equation.startswith("...") else shape[named:])
        sizes = dict(zip(inputs[-named:], shape[-named:] if layer.equation.startswith("...") else shape, strict=False))
        spatial = [elided, *(size for letter, size in sizes.items() if letter not in kernel)]
    return [(math.prod(spatial), weight) for weight in layer.weights if weight.name.endswith("kernel")]


@every
def test_cost_equals_counted_weights_and_positions(case, form):
    model, layer = case.model()
    adapter = adapters.find(layer)
    rank = max(1, _full_rank(layer, form) // 2)
    small, stock = _stock(layer, form, rank, case)
    shapes = form.factor_shapes(adapter.hwio_shape(layer), rank, adapter.groups(layer))
    calls = read_graph(model).calls_of(layer)
    cost = chain_cost(layer, adapter, calls, shapes)
    assert cost.params == small.count_params()
    assert layer_cost(layer, adapter, calls).params == layer.count_params()
    assert cost.macs == sum(at * math.prod(kernel.shape) for made in stock for at, kernel in _positions(small, made))
    dense = sum(at * math.prod(kernel.shape) for at, kernel in _positions(model, layer))
    assert layer_cost(layer, adapter, calls).macs == dense


@every
def test_attributes_are_kept(case, form):
    _, layer = case.model()
    layer.trainable = False
    _, stock = _stock(layer, form, 2, case)
    count = len(form.factor_shapes((1, 1, 4, 4), 1))
    assert [made.name for made in stock] == [*(f"layer_factor{index}" for index in range(count - 1)), "layer"]
    assert all(type(made).__module__.startswith("keras.") for made in stock)
    assert not any(made.trainable for made in stock)
    assert {made.dtype_policy.name for made in stock} == {"float32"}
    last = stock[-1]
    assert last.activity_regularizer is getattr(layer, "activity_regularizer", None)
    if isinstance(layer, layers.RNN | layers.Bidirectional | layers.Embedding):
        return
    assert last.activation is layer.activation
    assert all(made.activation is keras.activations.linear and made.bias is None for made in stock[:-1])
    kernel = "pointwise" if isinstance(layer, layers.SeparableConv2D | layers.SeparableConv1D) else "kernel"
    for made in stock:
        own = kernel if hasattr(made, f"{kernel}_regularizer") else "kernel"
        for what in ("regularizer", "constraint"):
            assert getattr(made, f"{own}_{what}") is getattr(layer, f"{kernel}_{what}")
    for name in ("bias_regularizer", "bias_constraint"):
        assert getattr(last, name) is getattr(layer, name)
    assert (last.bias is None) == (layer.bias is None)


@pytest.mark.parametrize("policy", ["mixed_float16", "bfloat16", "float64"])
@pytest.mark.parametrize("kind", [layers.Conv1D, layers.Conv2D, layers.Conv2DTranspose, layers.SeparableConv2D])
def test_dtype_policy_is_kept(policy, kind):
    layer = kind(8, 3, dtype=policy, name="layer")
    layer.build((None, 9, 4) if kind is layers.Conv1D else (None, 9, 9, 4))
    adapter = adapters.find(layer)
    kernel = np.asarray(ops.convert_to_numpy(ops.cast(adapter.read(layer), "float32")))
    stock = adapter.stock_chain(layer, decompositions.get("channel").factorize(kernel, 2))
    assert {made.dtype_policy.name for made, _ in stock} == {policy}


@pytest.mark.tensorflow
@pytest.mark.parametrize("kind", [layers.Conv2D, layers.Conv2DTranspose, layers.SeparableConv2D])
@pytest.mark.parametrize("name", decompositions.DECOMPOSITIONS)
def test_channels_first_keeps_its_format(kind, name):
    inputs = keras.Input((4, 9, 9))
    layer = kind(8, 3, strides=2, data_format="channels_first", name="layer")
    model = keras.Model(inputs, layer(inputs))
    adapter, form = adapters.find(layer), decompositions.get(name)
    kernel = ops.convert_to_numpy(adapter.read(layer))
    stock = [made for made, _ in adapter.stock_chain(layer, form.factorize(kernel, 2))]
    assert {made.data_format for made in stock} == {"channels_first"}
    x = inputs
    for made in stock:
        x = made(x)
    assert x.shape == layer.output.shape
    last_inputs = keras.Input((9, 9, 4))
    twin = kind(8, 3, strides=2, name="layer")
    last = keras.Model(last_inputs, twin(last_inputs))
    macs = [layer_cost(each, adapter, read_graph(whole).calls_of(each)).macs for each, whole in ((layer, model), (twin, last))]
    assert macs[0] == macs[1]


DEPTHWISE = {
    layers.DepthwiseConv1D: (lambda: layers.DepthwiseConv1D(3), (9, 4), 7 * 4 * 3),
    layers.DepthwiseConv2D: (lambda: layers.DepthwiseConv2D(3, depth_multiplier=2), (9, 9, 4), 7 * 7 * 8 * 9),
}


def _alone(make, shape):
    inputs = keras.Input(shape)
    layer = make()
    return keras.Model(inputs, layer(inputs)), layer


def test_every_adapter_is_tested():
    own = {type(case.make()) for case in CASES}
    known = own | set(DEPTHWISE) | {kind for kind in adapters.ADAPTERS if kind.__name__.startswith("LowRank")}
    assert set(adapters.ADAPTERS) == known


@pytest.mark.parametrize("kind", DEPTHWISE, ids=lambda kind: kind.__name__)
def test_depthwise_is_left_alone_but_counted(kind):
    make, shape, macs = DEPTHWISE[kind]
    model, layer = _alone(make, shape)
    adapter = adapters.find(layer)
    assert not isinstance(adapter, KernelAdapter)
    assert "single channel" in adapter.why_unsupported(layer)
    assert layer_cost(layer, adapter, read_graph(model).calls_of(layer)) == (macs, layer.count_params())


def test_reasons_for_what_cannot_be_factorized():
    _, grouped = _alone(lambda: layers.Conv2D(8, 3, groups=4), (9, 9, 4))
    assert "depthwise (groups=4)" in adapters.why_unsupported(grouped)
    _, lora = _alone(lambda: layers.Dense(8, lora_rank=2), (9,))
    assert "LoRA" in adapters.why_unsupported(lora)
    _, summed = _alone(lambda: layers.EinsumDense("abc,c->ab", (None,)), (5, 4))
    assert "no matrix" in adapters.why_unsupported(summed)
    _, wrapped = _alone(lambda: layers.Bidirectional(layers.RNN(layers.LSTMCell(4))), (5, 4))
    assert "RNN inside Bidirectional" in adapters.why_unsupported(wrapped)

    class Mine(layers.Conv2D):
        pass

    _, subclass = _alone(lambda: Mine(8, 3), (9, 9, 4))
    assert "Mine" in adapters.why_unsupported(subclass)
    assert "docs/adapters.md" in adapters.why_unsupported(subclass)


def test_a_kernel_that_is_too_large_is_refused_with_words(monkeypatch):
    _, dense = _alone(lambda: layers.Dense(8), (9,))
    adapter = adapters.find(dense)
    monkeypatch.setattr(type(adapter), "hwio_shape", lambda self, layer: (1, 1, 2**16, 2**16))
    assert "4,294,967,296 values, more than 2^31" in adapters.why_unsupported(dense)


def test_an_empty_kernel_is_left_alone():
    _, dense = _alone(lambda: layers.Dense(8), (0,))
    assert "empty: 1×1×0×8" in adapters.why_unsupported(dense)


@pytest.mark.tensorflow
def test_a_quantized_layer_is_left_alone():
    _, dense = _alone(lambda: layers.Dense(8), (9,))
    dense.quantize("int8")
    assert "quantized (int8)" in adapters.why_unsupported(dense)
