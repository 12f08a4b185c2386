"""Rebuilding a model with some layers replaced by others, the source untouched."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import keras

from lrpet_tf.adapters.copying import carried, copy_operation
from lrpet_tf.graph.reading import on_symbols
from lrpet_tf.graph.replay import check_built, has_graph, input_layer, replay
from lrpet_tf.graph.settling import settle

# Layers that may stand, one after the other, in the place of one.
_LONGEST = 4
# What `compile`, `fit` and `evaluate` leave on a model.
_OF_A_TRAINING = ("optimizer", "history", "stop_training", "stop_evaluating", "stop_predicting", "make_train_function")


class Replacement(NamedTuple):
    """What stands in the place of a layer.

    Attributes:
        layers: The unbuilt layers.
        call: Calls them: `call(args, kwargs)` with the arguments that the layer was called with.
    """

    layers: list[keras.layers.Layer]
    call: Callable


class _Rewriter:
    """Rebuilds models, each layer once: what is shared in the source is shared in the copy."""

    def __init__(self, replace: Callable, replace_inside: Callable, copy: Callable):
        self._replace, self._replace_inside, self._copy = replace, replace_inside, copy
        self._made: dict[int, Callable] = {}  # by id of the source's operation: how what stands in its place is called
        self.made: dict[int, tuple] = {}  # by id of the source's layer: it, and the layers in its place
        self.copies: list[tuple] = []  # (source layer, its plain copy)
        self.wholes: dict[int, keras.layers.Layer] = {}  # by id of the source's layer: the single layer in its place

    def model(self, source: keras.Model) -> keras.Model:
        if isinstance(source, keras.Sequential):
            copy = self._sequential(source)
        else:
            inputs = keras.tree.map_structure(_like, source.input)
            outputs = replay(source, inputs, self._call)
            copy = keras.Model(inputs, outputs, name=source.name)
        if type(source) is not type(copy):
            copy.__class__ = type(source)
            self._carry_attributes(source, copy)
        self.wholes[id(source)] = copy
        _carry_trainable(source, copy)
        return copy

    def _sequential(self, source: keras.Sequential) -> keras.Sequential:
        layers = [_like(source.inputs[0])]
        for original in source.layers:
            self._call_of(original)
            layers += self._layers_of(original)
        return keras.Sequential(layers, name=source.name)  # given all at once: each `add` would build the whole model anew

    def _layers_of(self, original) -> list:
        """Returns the layers in the place of one, for a model that holds nothing but layers in a row."""
        if id(original) in self.wholes:
            return [self.wholes[id(original)]]
        return self.made[id(original)][1]

    def _call(self, operation, args, kwargs):
        return self._call_of(operation)(args, kwargs)

    def _call_of(self, operation) -> Callable:
        if id(operation) not in self._made:
            self._made[id(operation)] = self._make(operation)
        return self._made[id(operation)]

    def _make(self, operation) -> Callable:
        if has_graph(operation):
            copy = self.model(operation)
        else:
            is_layer = isinstance(operation, keras.layers.Layer)
            replacement = self._replace(operation) if is_layer else None
            if replacement is not None:
                self.made[id(operation)] = operation, replacement.layers
                return replacement.call
            copy = self._copy(operation)
            if is_layer:
                self.wholes[id(operation)] = copy
                self.made[id(operation)] = operation, [copy]
                self.copies.append((operation, copy))
        return lambda args, kwargs: copy(*args, **kwargs)

    def _carry_attributes(self, source: keras.Model, copy: keras.Model) -> None:
        """Gives a copy the attributes that the user's own code has set, with state of their own."""
        copy._tracker.unlock()  # metrics too are state that a built model does not take
        for name, value in vars(source).items():
            if name not in vars(copy) and not name.startswith("_") and name not in _OF_A_TRAINING:
                setattr(copy, name, carried(value, self._as_attribute))
        copy._tracker.lock()

    def _as_attribute(self, source: keras.layers.Layer) -> keras.layers.Layer:
        """Returns what stands in the place of a layer that is an attribute of a model, part of its graph or not."""
        if id(source) in self.wholes:
            return self.wholes[id(source)]
        if id(source) in self.made:
            return keras.Sequential(self.made[id(source)][1], name=f"{source.name}_chain")
        if has_graph(source) and source.built:
            return self.model(source)
        copy = self._copy(source)
        if source.built:
            copy.build_from_config(source.get_build_config())
            self.copies.append((source, copy))
        self.wholes[id(source)] = copy
        return copy

    def code(self, source: keras.Model) -> keras.Model:
        """Copies a model that is written as Python code, and builds it."""
        copy = self._copy(source)
        on_symbols(source, copy)
        self.wholes[id(source)] = copy
        self.copies.append((source, copy))
        return copy

    def finish(self) -> None:
        """Gives the copies their state, and replaces the layers inside of those that are made of layers."""
        for source, made in self.made.values():
            for layer in made:
                _carry_trainable(source, layer)
        for source, copy in self.copies:  # grows while models inside of layers are rebuilt
            settle(source, copy, self._in_place, self._copy, self.wholes)
            if isinstance(source, keras.Model):
                self._carry_attributes(source, copy)

    def _in_place(self, source: keras.layers.Layer, holder: keras.layers.Layer):
        """Returns what is to stand in the place of a layer inside another one, or `None` for its copy."""
        if has_graph(source):
            return self.model(source)
        made = self._replace_inside(source, holder)
        if made is not None:
            made.build(source.get_build_config()["input_shape"])
            self.made[id(source)] = source, [made]
            _carry_trainable(source, made)
        return made


def _like(tensor: keras.KerasTensor) -> keras.KerasTensor:
    source = input_layer(tensor)
    return keras.Input(
        batch_shape=tensor.shape, dtype=tensor.dtype, sparse=tensor.sparse, name=source.name, optional=source.optional
    )


def _carry_trainable(source, copy) -> None:
    # The setter reaches every layer inside, so it is called only where it changes something.
    if copy.trainable != source.trainable:
        copy.trainable = source.trainable


@contextlib.contextmanager
def _room_for(model: keras.Model) -> Iterator[None]:
    """Lets Keras, which walks through a graph by recursion, build one that is deeper than the source."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(limit + _LONGEST * len(model._flatten_layers()))
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def rewrite(
    model: keras.Model,
    replace: Callable[[keras.layers.Layer], Replacement | None] = lambda layer: None,
    replace_inside: Callable = lambda layer, holder: None,
    *,
    copy: Callable[[keras.Operation], keras.Operation] = copy_operation,
) -> keras.Model:
    """Rebuilds a model on layers of its own, some of them replaced.

    Args:
        model: A built model; models nested in it are rebuilt too.
        replace: Is asked once for each layer of a graph, and gives what stands in its place, or `None` for a copy.
        replace_inside: Is asked for each layer inside a layer, `replace_inside(layer, holder)`, and gives the one unbuilt layer
            in its place, or `None` to leave it.
        copy: Makes the copy of a layer or operation, without weights; from its configuration by default.

    Returns:
        A model of the same graph, class, names and weights, not compiled. Only the layers put in place of others have fresh
        weights.

    Raises:
        UnsupportedModelError: The model is not built, or its class cannot be copied.
    """
    check_built(model)
    rewriter = _Rewriter(replace, replace_inside, copy)
    with _room_for(model):
        rewritten = rewriter.model(model) if has_graph(model) else rewriter.code(model)
        rewriter.finish()
    return rewritten
