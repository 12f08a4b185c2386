"""Which layer an operator of a `.tflite` file comes from.

While a model is converted, each layer and each operation of its graph runs in a name scope that is its path. TensorFlow's
converter keeps these names: the tensor that a fused operator puts out is named after all layers that it was made of.
"""

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping

import keras

from lrpet_tf.errors import UnsupportedModelError, require
from lrpet_tf.graph import Graph, is_graph, read_graph


def scope_of(path: str) -> str:
    """Returns the name scope of a layer: its path, in the characters that TensorFlow takes."""
    scope = re.sub(r"[^A-Za-z0-9_.\\/>-]", "_", path)
    return scope if scope[:1].isalnum() else f"l{scope}"


def layer_graph(model: keras.Model) -> Graph | None:
    """Returns the graph of a model, or `None` where it cannot be read: its operators then have no known layers."""
    try:
        return read_graph(model)
    except UnsupportedModelError:
        return None


def layer_scopes(graph: Graph | None) -> dict[str, str]:
    """Returns the path of each layer of a graph by its name scope."""
    return {scope_of(path): path for path in graph.layers()} if graph else {}


@contextlib.contextmanager
def named(graph: Graph | None) -> Iterator[None]:
    """Lets TensorFlow name what each layer computes after the layer's path."""
    layers = graph.layers() if graph else {}
    tf = require("tensorflow", "tensorflow")

    def scoped(path, call):
        def within(*args, **kwargs):
            with tf.name_scope(f"{scope_of(path)}/"):  # with a slash at the end it stands alone, and is never numbered
                return call(*args, **kwargs)

        return within

    wrapped = []
    try:
        for path, layer in layers.items():
            if not is_graph(layer) and "call" not in vars(layer):
                layer.call = scoped(path, layer.call)
                wrapped.append(layer)
        yield
    finally:
        for layer in wrapped:
            del layer.call  # the method of the class shows again


def layers_of(name: str, scopes: Mapping[str, str]) -> tuple[str, ...]:
    """Returns the layers that a tensor or node of a converted model comes from.

    Args:
        name: Its name; several, where operators were fused, stand between semicolons.
        scopes: Paths by name scope, as `layer_scopes` returns them.

    Returns:
        Paths, without repetitions; empty where the name tells none.
    """
    found = (_longest(part, scopes) for part in name.split(";"))
    return tuple(dict.fromkeys(path for path in found if path is not None))


def _longest(name: str, scopes: Mapping[str, str]) -> str | None:
    parts = name.split("/")
    for count in range(len(parts), 0, -1):
        path = scopes.get("/".join(parts[:count]))
        if path is not None:
            return path
    return None


def output_layers(model: keras.Model) -> tuple[str, ...]:
    """Returns the path of the layer that each output of a model comes from."""
    return tuple(_maker(tensor, "") for tensor in _outputs(model))


def _outputs(model: keras.Model) -> Iterable[keras.KerasTensor]:
    return keras.tree.flatten(model.outputs)


def _maker(tensor: keras.KerasTensor, prefix: str) -> str:
    operation, _, index = tensor._keras_history
    if is_graph(operation):
        return _maker(list(_outputs(operation))[index], f"{prefix}{operation.name}/")
    return prefix + operation.name
