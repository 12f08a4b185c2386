"""A Keras 3 model as one of tf_keras: its graph is run anew with layers of tf_keras."""

from collections.abc import Callable

import keras

from lrpet_tf.errors import LowRankError, UnsupportedLayersError
from lrpet_tf.graph import as_graph, input_layer, is_graph
from lrpet_tf.graph.replay import replay
from lrpet_tf.interop.agreement import check_agreement
from lrpet_tf.interop.naming import flat_names, unique
from lrpet_tf.interop.operation import operation_layer
from lrpet_tf.interop.packages import tf_keras
from lrpet_tf.interop.translation import UntranslatableError, translate

# Operations that have a layer of their own: how it is made, if it is called on these arguments.
_AS_LAYERS = {
    "Add": lambda args, kwargs: ("Add", {}, list(args)) if _are_alike(args) else None,
    "Concatenate": lambda args, kwargs: ("Concatenate", {"axis": kwargs.get("axis")}, list(args[0])),
    "Relu": lambda args, kwargs: ("ReLU", {}, args[0]),
}


def _are_alike(tensors) -> bool:
    shapes = {tuple(getattr(each, "shape", ())) for each in tensors}
    return len(shapes) == 1 and all(hasattr(each, "_keras_history") for each in tensors)


def one_for_one(layer: keras.layers.Layer, path: str, name: str) -> list:
    """Returns the layer of tf_keras that stands for a layer, as a list."""
    return [translate(layer, name=name)]


class Carrier:
    """Runs the graph of a model with layers of tf_keras, each made once.

    Args:
        model: A Functional or Sequential model.
        build: `build(layer, path, name)` returns the chain of tf_keras layers that stands for a layer.
        enter: `enter(tensor, path)` returns what a layer is called on instead of a tensor.
        leave: `leave(tensor, path)` is told what a layer returns.
        shares: Says whether all calls of a layer go to one.

    Attributes:
        paths: By name of a layer of tf_keras, the path of the Keras layer that it stands for.
    """

    def __init__(
        self,
        model: keras.Model,
        build: Callable = one_for_one,
        enter: Callable = lambda tensor, path: tensor,
        leave: Callable = lambda tensor, path: None,
        shares: Callable = lambda layer: True,
    ):
        self._model, self._build, self._enter, self._leave, self._shares = model, build, enter, leave, shares
        named = flat_names(model)
        self._names = {id(layer): (path, name) for path, (layer, name) in named.items()}
        self._taken = {name for _, name in named.values()}
        self._chains: dict[int, list] = {}
        self._failures: dict[str, str] = {}
        self._sources: list[tuple] = []
        self.paths: dict[str, str] = {}

    def run(self):
        """Returns the tf_keras model, its weights those of the source.

        Raises:
            UnsupportedLayersError: There are layers that cannot be carried over.
        """
        self._check()
        source = self._model
        tensors = [self._input(each) for each in source.inputs]
        structure = source.inputs[0] if isinstance(source, keras.Sequential) else source.input
        inputs = keras.tree.pack_sequence_as(structure, tensors)
        outputs = self._replayed(source, inputs)
        flat = tf_keras().Model(inputs, outputs, name=unique(source.name, ()))
        for layer, path, chain in self._sources:
            set_weights(layer, path, chain)
        return flat

    def _check(self) -> None:
        """Tries every layer by itself, so that all that cannot be carried over are named at once."""
        failures = {}

        def visit(model):
            for layer in model.layers:
                if is_graph(layer):
                    visit(layer)
                elif not isinstance(layer, keras.layers.InputLayer) and id(layer) in self._names:
                    path, name = self._names[id(layer)]
                    try:
                        self._build(layer, path, name)
                    except UntranslatableError as error:
                        failures[path] = type(layer).__name__, str(error)

        visit(self._model)
        if failures:
            raise UnsupportedLayersError(
                self._model.name,
                "carried over to tf_keras",
                failures,
                "Replace them, leave them out of the model, or make stock layers of them: lrpet_tf.factorize does so with the "
                "layers of this library.",
            )

    def _input(self, tensor):
        name = unique(input_layer(tensor).name, self._taken)
        self._taken.add(name)
        return tf_keras().Input(batch_shape=tuple(tensor.shape), dtype=tensor.dtype, name=name)

    def _replayed(self, model: keras.Model, inputs):
        return replay(model, inputs, self._call)

    def _call(self, operation, args, kwargs):
        if is_graph(operation):
            return self._replayed(operation, args[0] if args else kwargs["inputs"])
        path, name = self._names[id(operation)]
        args, kwargs = keras.tree.map_structure(lambda each: self._entered(each, path), (args, kwargs))
        if isinstance(operation, keras.layers.Layer):
            outputs = self._call_chain(self._chain(operation, path, name), args, kwargs)
        else:
            outputs = self._call_operation(operation, path, name, args, kwargs)
        keras.tree.map_structure(lambda tensor: self._leave(tensor, path), outputs)
        return outputs

    def _entered(self, value, path: str):
        return self._enter(value, path) if hasattr(value, "_keras_history") else value

    @staticmethod
    def _call_chain(chain: list, args, kwargs):
        first, *others = chain
        outputs = first(*args, **{key: value for key, value in kwargs.items() if value is not None})
        for layer in others:
            outputs = layer(outputs)
        return outputs

    def _chain(self, layer: keras.layers.Layer, path: str, name: str) -> list:
        if id(layer) in self._chains:
            if self._shares(layer):
                return self._chains[id(layer)]
            name = unique(name, self._taken)
        chain = self._build(layer, path, name)
        self._chains[id(layer)] = chain
        self._sources.append((layer, path, chain))
        self._note(chain, path)
        return chain

    def _note(self, chain: list, path: str) -> None:
        self._taken |= {layer.name for layer in chain}
        self.paths |= {layer.name: path for layer in chain}

    def _call_operation(self, operation: keras.Operation, path: str, name: str, args, kwargs):
        if path in self.paths.values():  # an operation is called where it stands; in a shared model it stands several times
            name = unique(name, self._taken)
        make = _AS_LAYERS.get(type(operation).__name__)
        made = make(args, operation.get_config() | kwargs) if make else None
        if made is None:
            try:
                layer, inputs = operation_layer(operation, args, kwargs, name)
            except UntranslatableError as error:
                failure = {path: (type(operation).__name__, str(error))}
                raise UnsupportedLayersError(
                    self._model.name, "carried over to tf_keras", failure, "Put it in a layer."
                ) from error
        else:
            kind, options, inputs = made
            layer = getattr(tf_keras().layers, kind)(name=name, **options)
        self._note([layer], path)
        return layer(inputs)


def set_weights(source: keras.layers.Layer, path: str, chain: list) -> None:
    """Gives a chain of tf_keras layers the weights of the layer that it stands for.

    Args:
        source: The Keras 3 layer.
        path: Its path.
        chain: Built layers, whose weights, one after the other, are those of the source.

    Raises:
        LowRankError: They have other weights.
    """
    values, variables = source.get_weights(), [variable for layer in chain for variable in layer.weights]
    if [each.shape for each in values] != [tuple(each.shape) for each in variables]:
        raise LowRankError(
            f"Layer '{path}' ({type(source).__name__}) has other weights in tf_keras, of shapes "
            f"{[tuple(each.shape) for each in variables]}. Received: weights of shapes {[each.shape for each in values]}. "
            "Replace the layer, or leave it out of the model."
        )
    for layer in chain:
        layer.set_weights(values[: len(layer.weights)])
        values = values[len(layer.weights) :]


def to_tf_keras(model: keras.Model):
    """Returns a model of tf_keras (Keras 2) that computes what a Keras 3 model computes, with the same weights.

    Its graph is run anew with tf_keras layers of the same configuration; models nested in it are dissolved. A layer has the
    name of its Keras layer where that is unique, else its path with `_` for `/`. Operations such as `keras.ops.pad` become
    layers that run them. The copy is run on random inputs and compared.

    Args:
        model: A built Functional or Sequential model of stock layers, nested as you like.

    Returns:
        A Functional `tf_keras.Model`, not compiled, with inputs and outputs in the same structure.

    Raises:
        UnsupportedLayersError: There are layers that tf_keras does not have; all are named.
        UnsupportedModelError: The model is not built.
        LowRankError: The outputs differ, or Keras runs on another backend than TensorFlow.
        MissingExtraError: tf_keras is not installed.
    """
    tf_keras()
    model = as_graph(model)
    copy = Carrier(model).run()
    check_agreement(model, copy)
    return copy
