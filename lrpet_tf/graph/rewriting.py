"""Rebuilding a model with some layers replaced by others, the source untouched."""

from collections.abc import Callable, Sequence

import keras

from lrpet_tf.adapters.copying import carry_state, copy_operation
from lrpet_tf.graph.replay import check_supported, input_layer, is_graph, replay


class _Rewriter:
    """Rebuilds models, each layer once: what is shared in the source is shared in the copy."""

    def __init__(self, replace: Callable, copy: Callable):
        self._replace, self._copy = replace, copy
        self._made: dict[int, list] = {}  # by id of the source's operation
        self.made: list[tuple] = []  # (source layer, the layers in its place)
        self.copies: list[tuple] = []  # (source layer, its plain copy)

    def model(self, source: keras.Model) -> keras.Model:
        if isinstance(source, keras.Sequential):
            (tensor,) = source.inputs
            made = [layer for original in source.layers for layer in self._layers(original)]
            copy = keras.Sequential([_like(tensor), *made], name=source.name)
        else:
            inputs = keras.tree.map_structure(_like, source.input)
            outputs = replay(source, inputs, self._call)
            copy = keras.Model(inputs, outputs, name=source.name)
        _carry_trainable(source, copy)
        return copy

    def _call(self, operation, args, kwargs):
        first, *rest = self._layers(operation)
        outputs = first(*args, **kwargs)
        for layer in rest:
            outputs = layer(outputs)
        return outputs

    def _layers(self, operation) -> list:
        if id(operation) not in self._made:
            self._made[id(operation)] = self._make(operation)
        return self._made[id(operation)]

    def _make(self, operation) -> list:
        if is_graph(operation):
            return [self.model(operation)]
        is_layer = isinstance(operation, keras.layers.Layer)
        made = self._replace(operation) if is_layer else None
        if made is None:
            made = [self._copy(operation)]
            if is_layer:
                self.copies.append((operation, made[0]))
        if is_layer:
            self.made.append((operation, made))
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


def rewrite(
    model: keras.Model,
    replace: Callable[[keras.layers.Layer], Sequence[keras.layers.Layer] | None],
    *,
    copy: Callable[[keras.Operation], keras.Operation] = copy_operation,
) -> keras.Model:
    """Rebuilds a model on layers of its own, some of them replaced.

    Args:
        model: A built Functional or Sequential model; models nested in it are rebuilt too.
        replace: Is asked once for each layer, and gives the unbuilt layers to put in its place, one after the other, or
            `None` for a copy.
        copy: Makes the copy of a layer or operation, without weights; from its configuration by default.

    Returns:
        A model of the same graph, names and weights. Only the layers put in place of others have fresh weights.

    Raises:
        UnsupportedModelError: The model is of another kind, or not built.
    """
    check_supported(model)
    rewriter = _Rewriter(replace, copy)
    rewritten = rewriter.model(model)
    for source, made in rewriter.made:
        for layer in made:
            _carry_trainable(source, layer)
    for source, copy in rewriter.copies:
        carry_state(source, copy)
    return rewritten
