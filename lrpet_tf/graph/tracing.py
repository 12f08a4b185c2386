"""Seeing the calls inside a layer or model that is written as Python code: its call is run on symbols, and watched."""

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import keras

Shape = tuple[int | None, ...]

# What unknown sizes are replaced by, the batch axis first: a size that changes with them is unknown.
_PASSES = ((2, 96), (3, 128))


class Seen(NamedTuple):
    """One call of one layer inside.

    Attributes:
        layer: The layer.
        holders: The layers and models that were being called, the outermost first, without the one that is traced.
        inputs: The tensors that went in.
        outputs: The tensors that came out.
        input_shape: Shape of the first input.
        output_shape: Shape of the first output.
    """

    layer: keras.layers.Layer
    holders: tuple[keras.layers.Layer, ...]
    inputs: tuple
    outputs: tuple
    input_shape: Shape
    output_shape: Shape


def _tensors(structure) -> tuple:
    return tuple(each for each in keras.tree.flatten(structure) if keras.ops.is_tensor(each))


def _apart(outputs, ins: tuple):
    """Returns outputs none of which is an input itself, as a Dropout gives: each tensor then tells which call it is of."""
    known = set(map(id, ins))
    return keras.tree.map_structure(lambda each: keras.ops.copy(each) if id(each) in known else each, outputs)


@contextlib.contextmanager
def _watched(layer: keras.layers.Layer, enters: Callable[[keras.layers.Layer], bool], seen: list[Seen]) -> Iterator[None]:
    """Notes the calls of all layers inside, down to those that `enters` says no to."""
    stack: list[keras.layers.Layer] = []
    inside = [each for each in layer._flatten_layers(include_self=False) if not isinstance(each, keras.layers.InputLayer)]

    def watch(each, call):
        def watched(*args, **kwargs):
            if stack and not enters(stack[-1]):
                return call(*args, **kwargs)
            stack.append(each)
            try:
                outputs = call(*args, **kwargs)
            finally:
                stack.pop()
            ins = _tensors((args, kwargs))
            outputs = _apart(outputs, ins)
            outs = _tensors(outputs)
            shapes = [tuple(tensors[0].shape) if tensors else () for tensors in (ins, outs)]
            seen.append(Seen(each, tuple(stack), ins, outs, *shapes))
            return outputs

        return watched

    try:
        for each in inside:
            each.call = watch(each, each.call)
        yield
    finally:
        for each in inside:
            del each.call  # the method of the class shows again


def _filled(structure, batch: int, other: int):
    """Returns a structure of arguments in which the tensors have no unknown sizes."""

    def fill(each):
        if not isinstance(each, keras.KerasTensor):
            return each
        first, *rest = each.shape or (1,)
        shape = (batch if first is None else first, *(other if size is None else size for size in rest))
        return keras.KerasTensor(shape[: len(each.shape)], each.dtype)

    return keras.tree.map_structure(fill, structure)


def trace(layer: keras.layers.Layer, args: tuple, kwargs: dict, enters: Callable[[keras.layers.Layer], bool]) -> list[Seen]:
    """Returns the calls inside a layer or model, in the order in which they end.

    Args:
        layer: A built layer; its call is run on symbols, so nothing is computed and no state changes.
        args: What it is called with: KerasTensors and anything else.
        kwargs: The same, by name.
        enters: Says of a layer inside whether the calls within it are wanted too.

    Returns:
        The calls. A size that depends on an unknown one is `None`.
    """
    passes = []
    for batch, other in _PASSES:
        seen: list[Seen] = []
        filled = _filled((args, kwargs), batch, other)
        with _watched(layer, enters, seen):
            keras.Operation.compute_output_spec(layer, *filled[0], **filled[1])
        passes.append(seen)
    first, second = passes
    same_calls = [each.layer for each in first] == [each.layer for each in second]
    return [
        one._replace(
            input_shape=_merged(one.input_shape, other.input_shape if same_calls else ()),
            output_shape=_merged(one.output_shape, other.output_shape if same_calls else ()),
        )
        for one, other in zip(first, second if same_calls else first, strict=True)
    ]


def _merged(one: Shape, other: Shape) -> Shape:
    if len(one) != len(other):
        return (None,) * len(one)
    return tuple(a if a == b else None for a, b in zip(one, other, strict=True))
