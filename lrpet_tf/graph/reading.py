"""Reading a model's graph: every call of every layer, nested models included."""

import dataclasses
import functools
from collections import defaultdict

import keras

from lrpet_tf.graph.replay import check_supported, is_graph, replay

Shape = tuple[int | None, ...]


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of one layer.

    Attributes:
        path: Path of the layer: the names of the nested models it stands in and its own, joined by `/`. A layer that is
            found in several places keeps the path of the first.
        layer: The layer, or the operation.
        inputs: Ids of the tensors that go in.
        outputs: Ids of the tensors that come out.
        input_shape: Shape of the first input, with the batch axis.
        output_shape: Shape of the first output, with the batch axis.
    """

    path: str
    layer: keras.Operation
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    input_shape: Shape
    output_shape: Shape


@dataclasses.dataclass(frozen=True)
class Graph:
    """The calls of a model in topological order, and the ids of the tensors that it returns."""

    calls: tuple[Call, ...]
    outputs: tuple[int, ...]

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


class _Reader:
    def __init__(self):
        self.calls: list[Call] = []
        self.tensors: list = []  # held, so that no id is given twice
        self._paths: dict[int, str] = {}

    def run(self, model, inputs, prefix: str):
        return replay(model, inputs, lambda operation, args, kwargs: self._call(operation, args, kwargs, prefix))

    def _call(self, operation, args, kwargs, prefix: str):
        if is_graph(operation):
            inputs = args[0] if args else kwargs["inputs"]
            return self.run(operation, inputs, f"{prefix}{operation.name}/")
        outputs = operation.compute_output_spec(*args, **kwargs)
        ins = [tensor for tensor in keras.tree.flatten((args, kwargs)) if isinstance(tensor, keras.KerasTensor)]
        outs = [tensor for tensor in keras.tree.flatten(outputs) if isinstance(tensor, keras.KerasTensor)]
        self.tensors += ins + outs
        path = self._paths.setdefault(id(operation), prefix + operation.name)
        self.calls.append(
            Call(
                path,
                operation,
                tuple(map(id, ins)),
                tuple(map(id, outs)),
                tuple(ins[0].shape) if ins else (),
                tuple(outs[0].shape) if outs else (),
            )
        )
        return outputs


def read_graph(model: keras.Model) -> Graph:
    """Reads every call of every layer of a model, with the shapes at which it is made.

    A model nested in it is entered at each of its calls, so a layer inside one that is called twice has two calls.

    Args:
        model: A built Functional or Sequential model.

    Returns:
        The graph.

    Raises:
        UnsupportedModelError: The model is of another kind, or not built.
    """
    check_supported(model)
    reader = _Reader()
    structure = model.inputs if isinstance(model, keras.Sequential) else model.input
    inputs = keras.tree.map_structure(lambda x: keras.KerasTensor(x.shape, x.dtype, name=x.name), structure)
    outputs = reader.run(model, inputs, "")
    return Graph(tuple(reader.calls), tuple(id(tensor) for tensor in keras.tree.flatten(outputs)))
