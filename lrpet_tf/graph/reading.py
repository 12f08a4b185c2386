"""Reading a model's graph: every call of every layer, also inside nested models, wrappers and layers made of layers."""

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import NamedTuple

import keras

from lrpet_tf import adapters
from lrpet_tf.adapters import Adapter, KernelAdapter
from lrpet_tf.errors import UnsupportedModelError
from lrpet_tf.graph.replay import check_built, has_graph, is_graph, model_input, replay
from lrpet_tf.graph.tracing import trace

Shape = tuple[int | None, ...]


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of one layer.

    Attributes:
        path: Path of the layer: the names of the models and layers it stands in and its own, joined by `/`. A layer that is
            found in several places keeps the path of the first.
        layer: The layer, or the operation.
        inputs: Ids of the tensors that go in.
        outputs: Ids of the tensors that come out.
        input_shape: Shape of the first input, with the batch axis.
        output_shape: Shape of the first output, with the batch axis.
        times: How often it is made, as by a TimeDistributed; `None` where that is unknown.
        within: The layers, not models, that the layer stands in, the outermost first.
    """

    path: str
    layer: keras.Operation
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    input_shape: Shape
    output_shape: Shape
    times: int | None = 1
    within: tuple[keras.layers.Layer, ...] = ()


@dataclasses.dataclass(frozen=True)
class Graph:
    """The calls of a model in topological order, and the ids of the tensors that it returns.

    Attributes:
        calls: The calls.
        outputs: Ids of the outputs.
        unseen: By path, why the inside of a layer could not be read.
        adapters: The user's adapters that it was read with.
    """

    calls: tuple[Call, ...]
    outputs: tuple[int, ...]
    unseen: Mapping[str, str] = dataclasses.field(default_factory=dict)
    adapters: Mapping[type, Adapter] = dataclasses.field(default_factory=dict)

    def layers(self) -> dict[str, keras.Operation]:
        """Returns each layer once, by path, in the order of the first calls."""
        return {call.path: call.layer for call in self.calls}

    def calls_of(self, layer) -> tuple[Call, ...]:
        """Returns the calls of a layer."""
        return tuple(self._calls_by_layer[id(layer)])

    @functools.cached_property
    def _calls_by_layer(self) -> dict[int, list[Call]]:
        calls = defaultdict(list)
        for call in self.calls:
            calls[id(call.layer)].append(call)
        return calls


class _Place(NamedTuple):
    """Where a layer stands: the beginning of its path, the layers around it, and how often they call it."""

    prefix: str = ""
    within: tuple = ()
    times: int | None = 1

    def inside(self, operation) -> "_Place":
        """Returns the place inside a model, which is rebuilt whole wherever it stands, or inside a layer."""
        within = () if has_graph(operation) else (*self.within, operation)
        return self._replace(prefix=f"{self.prefix}{operation.name}/", within=within)

    def repeated(self, times: int | None) -> "_Place":
        """Returns the place inside something that calls several times."""
        return self._replace(times=None if times is None or self.times is None else times * self.times)


class _Reader:
    def __init__(self, extra: Mapping[type, Adapter]):
        self.calls: list[Call] = []
        self.tensors: list = []  # held, so that no id is given twice
        self.unseen: dict[str, str] = {}
        self.extra = extra
        self._paths: dict[int, str] = {}
        self._taken: set[str] = set()
        self._numbers: dict[str, int] = {}  # by path without a number: the last that was given

    def run(self, model, inputs, place: _Place):
        return replay(model, inputs, lambda operation, args, kwargs: self._call(operation, args, kwargs, place))

    def opaque(self, model, args, kwargs, place: _Place):
        """Reads the calls inside a layer or model that is Python code, and returns what it puts out."""
        enters = functools.partial(_is_made_of_layers, extra=self.extra)
        for seen in trace(model, args, kwargs, enters):
            at = functools.reduce(_Place.inside, seen.holders, place)
            if not has_graph(seen.layer):
                self._note(seen.layer, seen.inputs, seen.outputs, seen.input_shape, seen.output_shape, at)

    def _call(self, operation, args, kwargs, place: _Place):
        if is_graph(operation):
            inputs = args[0] if args else kwargs["inputs"]
            return self.run(operation, inputs, place.inside(operation))
        outputs = operation.compute_output_spec(*args, **kwargs)
        adapter = adapters.find(operation, self.extra)
        if isinstance(adapter, KernelAdapter):
            outputs = _with_known_sizes(outputs, adapter, operation, _symbols((args, kwargs))[0].shape)
        ins, outs = (_symbols(each) for each in ((args, kwargs), outputs))
        wrapper = adapters.find_wrapper(operation)
        if wrapper is not None and adapter is None:
            inner = keras.KerasTensor(wrapper.inner_shape(ins[0].shape), ins[0].dtype)
            at = place.inside(operation).repeated(wrapper.times(ins[0].shape))
            self._call(wrapper.inner(operation), (inner,), {}, at)
        elif _is_made_of_layers(operation, self.extra):
            try:
                self.opaque(operation, args, kwargs, place.inside(operation))
            except Exception as error:  # code of the user's own may fail in any way; the layer is then left alone
                self.unseen[place.prefix + operation.name] = f"{type(error).__name__}: {error}"
        shapes = [tuple(each[0].shape) if each else () for each in (ins, outs)]
        self._note(operation, ins, outs, *shapes, place)
        return outputs

    def _note(self, operation, ins, outs, input_shape: Shape, output_shape: Shape, place: _Place) -> None:
        self.tensors += [*ins, *outs]
        ids = tuple(map(id, ins)), tuple(map(id, outs))
        path = self._path(operation, place.prefix)
        self.calls.append(Call(path, operation, *ids, input_shape, output_shape, place.times, place.within))

    def _path(self, operation, prefix: str) -> str:
        if id(operation) not in self._paths:
            plain = path = prefix + operation.name
            while path in self._taken:
                self._numbers[plain] = self._numbers.get(plain, 1) + 1
                path = f"{plain}_{self._numbers[plain]}"
            self._taken.add(path)
            self._paths[id(operation)] = path
        return self._paths[id(operation)]


def _with_known_sizes(outputs, adapter: KernelAdapter, layer, input_shape: Shape):
    """Returns symbols for the outputs of a layer, with sizes that Keras does not tell although they follow from the input."""
    if not isinstance(outputs, keras.KerasTensor) or None not in outputs.shape[1:]:
        return outputs
    return keras.KerasTensor(adapter.output_shape(layer, input_shape, outputs.shape), outputs.dtype, name=outputs.name)


def _symbols(structure) -> list[keras.KerasTensor]:
    return [tensor for tensor in keras.tree.flatten(structure) if isinstance(tensor, keras.KerasTensor)]


def _is_made_of_layers(operation, extra: Mapping[type, Adapter]) -> bool:
    """Returns whether the layers inside a layer are of interest: it has some, and no adapter takes it as a whole."""
    if is_graph(operation):
        return True
    return bool(getattr(operation, "_layers", ())) and adapters.find(operation, extra) is None


def read_graph(model: keras.Model, extra: Mapping[type, Adapter] | None = None) -> Graph:
    """Reads every call of every layer of a model, with the shapes at which it is made.

    A model nested in it is entered at each of its calls, so a layer inside one that is called twice has two calls. So is a
    layer that is made of layers, and a subclassed model: their code is run on symbols, and the calls are watched.

    Args:
        model: A built model.
        extra: A user's adapters: layers that have one are not entered.

    Returns:
        The graph.

    Raises:
        UnsupportedModelError: This is no Keras model, or it is not built, or its code cannot be run on symbols.
    """
    check_built(model)
    reader = _Reader(extra or {})
    if not is_graph(model):
        return _read_code(model, reader)
    outputs = reader.run(model, example_inputs(model, ""), _Place())
    return Graph(tuple(reader.calls), tuple(id(tensor) for tensor in keras.tree.flatten(outputs)), reader.unseen, reader.extra)


def _read_code(model: keras.Model, reader: _Reader) -> Graph:
    place = _Place() if has_graph(model) else _Place(within=(model,))
    on_symbols(model, lambda symbols: reader.opaque(model, (symbols,), {}, place))
    return Graph(tuple(reader.calls), (), reader.unseen, reader.extra)


def as_graph(model: keras.Model) -> keras.Model:
    """Returns a model that tells its inputs and outputs: one with a graph as it is, another one inside a Functional.

    Args:
        model: A built model.

    Returns:
        The model, or a Functional model of a single layer, which is the model.

    Raises:
        UnsupportedModelError: This is no Keras model, or it is not built, or its code cannot be run on symbols.
    """
    check_built(model)
    if is_graph(model):
        return model

    def call(symbols):
        inputs = keras.tree.map_structure(lambda each: keras.Input(batch_shape=each.shape, dtype=each.dtype), symbols)
        return keras.Model(inputs, model(inputs), name=model.name)

    return on_symbols(model, call)


def on_symbols(model: keras.Model, call: Callable):
    """Returns what `call` returns of symbols for what a subclassed model takes, floating ones or else whole numbers.

    Raises:
        UnsupportedModelError: It fails with both.
    """
    for dtype in (keras.config.floatx(), "int32"):
        try:
            return call(example_inputs(model, dtype))
        except Exception as error:  # code of the user's own may fail in any way
            failure = error
    raise UnsupportedModelError(model, f"the code of this one cannot be run on symbols ({failure})") from failure


def example_inputs(model: keras.Model, dtype: str):
    """Returns symbols for what a model takes, with any batch size.

    Args:
        model: A built model.
        dtype: What the inputs of a subclassed model are taken for, which remembers their shapes alone.
    """
    if getattr(model, "inputs", None):
        return keras.tree.map_structure(lambda x: keras.KerasTensor(x.shape, x.dtype, name=x.name), model_input(model))
    (shape,) = list(model._build_shapes_dict.values())[:1]
    return _untracked(keras.tree.map_shape_structure(lambda each: keras.KerasTensor((None, *each[1:]), dtype), shape))


def _untracked(structure):
    """Returns a structure of plain dicts and lists: what Keras keeps as an attribute it wraps, which JAX does not take."""
    if isinstance(structure, dict):
        return {key: _untracked(each) for key, each in structure.items()}
    if isinstance(structure, (list, tuple)):
        return (tuple if isinstance(structure, tuple) else list)(map(_untracked, structure))
    return structure
