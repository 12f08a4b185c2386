"""Micro-models: one layer at one input size, as it is or as a chain, small enough to time by itself."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping

import keras
import numpy as np

from lrpet_tf import adapters, decompositions
from lrpet_tf.adapters import KernelAdapter
from lrpet_tf.adapters.base import Shape
from lrpet_tf.decompositions import Decomposition
from lrpet_tf.errors import LowRankError
from lrpet_tf.graph import Call, Graph, in_float32
from lrpet_tf.linalg import Factor, KernelShape, whole

DENSE = "dense"
MODEL = "model-"
# Parts of a layer's configuration that do not change what it computes at inference, but for the values of its weights.
_IRRELEVANT = ("trainable", "dtype", "initializer", "regularizer", "constraint", "seed", "lora", "quantization")


@dataclasses.dataclass(frozen=True)
class MicroModel:
    """One layer at one input size, as it is or as a chain.

    Attributes:
        key: Says what it computes: equal for layers that take equally long.
        layer: A layer that it stands for.
        adapter: Its adapter.
        input_shape: Shape of the input, without the batch axis.
        form: The decomposition, or `None` for the dense layer.
        rank: The rank, or `None`.
    """

    key: str
    layer: keras.layers.Layer = dataclasses.field(repr=False)
    adapter: KernelAdapter = dataclasses.field(repr=False)
    input_shape: tuple[int, ...]
    form: Decomposition | None
    rank: int | None

    def build(self, calls: int = 1) -> keras.Model:
        """Returns the micro-model, with random weights, in float32; called several times, on as many inputs."""
        inputs = outputs = [keras.Input(self.input_shape) for _ in range(calls)]
        for layer in _stock_layers(self.layer, self.adapter, self.form, self.rank):
            outputs = [layer(x) for x in outputs]
        return in_float32(keras.Model(inputs, outputs) if calls > 1 else keras.Model(*inputs, *outputs))


def _stock_layers(layer, adapter: KernelAdapter, form: Decomposition | None, rank: int | None) -> list[keras.layers.Layer]:
    shape = adapter.hwio_shape(layer)
    shapes = whole(shape) if form is None else form.factor_shapes(shape, rank, adapter.groups(layer))
    chain = tuple(Factor(np.broadcast_to(np.float32(0), factor), axes) for factor, axes in shapes)
    return [stock for stock, _ in adapter.stock_chain(layer, chain)]


def _digest(value) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=lambda other: type(other).__name__).encode()).hexdigest()[
        :8
    ]


def _relevant(config):
    """Returns a configuration without what names and initialises, also in the configurations inside it."""
    if isinstance(config, Mapping):
        kept = (key for key in config if key != "name" and not any(part in str(key) for part in _IRRELEVANT))
        return {str(key): _relevant(config[key]) for key in kept}
    return [_relevant(each) for each in config] if isinstance(config, (list, tuple)) else config


def _options(operation) -> dict:
    try:
        return _relevant(operation.get_config())
    except NotImplementedError:  # an operation of the user's own that does not tell
        return {}


def layer_key(layer: keras.layers.Layer, input_shape: Shape, adapter: KernelAdapter | None = None) -> str:
    """Returns what a layer computes at one input size, as text: kind, kernel, size, and a digest of all its options.

    Args:
        layer: A built layer that can be factorized.
        input_shape: Shape of its input, with the batch axis.
        adapter: Its adapter; by default the library's.
    """
    adapter = adapter or adapters.find(layer)
    stock = _stock_layers(layer, adapter, None, None)
    kernel, sizes = adapter.hwio_shape(layer), input_shape[1:]
    kind = "-".join(type(each).__name__.lower() for each in stock)
    configs = [_relevant(each.get_config()) for each in stock]
    digest = _digest([kind, *configs, kernel, sizes])
    return f"{kind}-{'x'.join(map(str, kernel))}-on-{'x'.join(map(str, sizes))}-{digest}"


def entry_key(key: str, form: str | None = None, rank: int | None = None) -> str:
    """Returns the key of a layer in one form: `<layer key>/dense`, or `<layer key>/channel-16`."""
    return f"{key}/{DENSE}" if form is None else f"{key}/{form}-{rank}"


def model_key(graph: Graph) -> str:
    """Returns what a model computes as text: the types, options and shapes of all its calls, and how they are connected."""
    order: dict[int, int] = {}
    calls = []
    for call in graph.calls:
        wires = [order.setdefault(tensor, len(order)) for tensor in (*call.inputs, *call.outputs)]
        layer = call.layer
        calls.append((type(layer).__name__, _options(layer), call.input_shape, call.output_shape, _kernels(layer), wires))
    return f"{MODEL}{_digest(calls)}/{DENSE}"


def _kernels(layer) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in getattr(layer, "weights", ())]


def ranks_that_matter(form: Decomposition, shape: KernelShape, groups: int = 1) -> list[int]:
    """Returns the ranks to time: those at which a chain has fewer weights than the kernel, in steps that hardware knows.

    The steps are 4 for narrow layers, 8 for others, and a larger power of two where that would give more than 16 ranks.
    """

    def pays(rank: int) -> bool:
        return sum(math.prod(factor.shape) for factor in form.factor_shapes(shape, rank, groups)) < math.prod(shape)

    limit = max((rank for rank in range(1, form.max_rank(shape, groups) + 1) if pays(rank)), default=0)
    step = 4 if limit <= 32 else 8
    while limit / step > 16:
        step *= 2
    return list(range(step, limit + 1, step))


def micro_models(
    graph: Graph,
    forms: Iterable[Decomposition],
    extra: Mapping[str, Iterable[tuple[str, int]]] | None = None,
) -> Iterator[MicroModel]:
    """Yields the distinct micro-models of a model: each layer dense, and in each form at the ranks that matter.

    Args:
        graph: The graph of the model.
        forms: Decompositions to time.
        extra: More `(decomposition, rank)` pairs by layer path.

    Raises:
        LowRankError: The size of a layer's input is unknown.
    """
    forms, seen = tuple(forms), set()
    for call, adapter in _kernel_calls(graph):
        if None in call.input_shape[1:]:
            raise LowRankError(
                f"The latency of layer '{call.path}' depends on an unknown size. Received: input shape {call.input_shape}. "
                "Build the model on a keras.Input of fixed height and width to measure it."
            )
        key, shape, groups = (
            layer_key(call.layer, call.input_shape, adapter),
            adapter.hwio_shape(call.layer),
            adapter.groups(call.layer),
        )
        distinct = [form for form in forms if form.is_distinct(shape)]
        wanted = [(None, None)] + [(form, rank) for form in distinct for rank in ranks_that_matter(form, shape, groups)]
        wanted += [(decompositions.get(name), rank) for name, rank in (extra or {}).get(call.path, ())]
        for form, rank in wanted:
            entry = entry_key(key, form and form.name, rank)
            if entry not in seen:
                seen.add(entry)
                yield MicroModel(entry, call.layer, adapter, tuple(call.input_shape[1:]), form, rank)


def _kernel_calls(graph: Graph) -> Iterator[tuple[Call, KernelAdapter]]:
    """Yields the calls of layers that can be factorized, and that are calls of the graph itself."""
    for call in graph.calls:
        adapter = adapters.find(call.layer, graph.adapters)
        if isinstance(adapter, KernelAdapter) and adapter.why_unsupported(call.layer) is None and not call.within:
            yield call, adapter


def calls_by_path(graph: Graph) -> dict[str, list[str]]:
    """Returns the layer keys of every call of each layer that can be factorized, by path."""
    keys: dict[str, list[str]] = {}
    for call, adapter in _kernel_calls(graph):
        keys.setdefault(call.path, []).append(layer_key(call.layer, call.input_shape, adapter))
    return keys
