"""The layers inside a layer: their state, and others in their place, where the code of the layer finds them."""

from collections.abc import Callable

import keras

from lrpet_tf.adapters.copying import carry_state, own_variables
from lrpet_tf.errors import LowRankError
from lrpet_tf.graph.replay import has_graph


def settle(
    source: keras.layers.Layer,
    copy: keras.layers.Layer,
    replace: Callable,
    renew: Callable,
    placed: dict[int, keras.layers.Layer],
) -> None:
    """Gives a copy of a layer the state of its source, however deep, and puts other layers in the place of layers inside.

    Args:
        source: A layer; what has a graph is left alone, since it is rebuilt as a whole.
        copy: A built copy of it, the layers inside in the same order.
        replace: `replace(layer inside the source, its holder)` gives the built layer to put in the place of its copy, or
            `None`.
        renew: Gives an unbuilt copy of a layer inside, for one that the copy of its holder does not have: a layer that an
            earlier call has put there.
        placed: By id of a layer inside, what stands in its place. It is filled, so that a layer that two hold is one
            afterwards.

    Raises:
        LowRankError: The copy has other weights, or other layers inside.
    """
    if has_graph(source):
        return
    if len(source._layers) != len(copy._layers):
        raise LowRankError(
            f"A copy of {type(source).__name__} '{source.name}', made from its configuration, has {len(copy._layers)} "
            f"layers inside, not {len(source._layers)}. Let it make all of them in __init__ or build."
        )
    swaps = []
    for inner, twin in list(zip(source._layers, copy._layers, strict=True)):
        made = placed.get(id(inner)) or replace(inner, source)
        if made is None:
            made = twin
            if not _are_alike(inner, twin):
                made = renew(inner)
                made.build_from_config(inner.get_build_config())
            settle(inner, made, replace, renew, placed)
        placed[id(inner)] = made
        if made is not twin:
            swaps.append((twin, made))
    _put(copy, swaps)
    carry_state(source, copy)


def _are_alike(one: keras.layers.Layer, other: keras.layers.Layer) -> bool:
    shapes = ([tuple(variable.shape) for variable in own_variables(each)] for each in (one, other))
    return type(one) is type(other) and len({*map(str, shapes)}) == 1


def _put(holder: keras.layers.Layer, swaps: list[tuple[keras.layers.Layer, keras.layers.Layer]]) -> None:
    """Replaces layers by others in all attributes of their holder, and in the lists and dicts among them."""
    new, found = {id(old): made for old, made in swaps}, set()
    attributes = vars(holder)
    for name in attributes if swaps else ():
        # The books that Keras and TensorFlow keep are not where code finds a layer.
        if name not in ("_tracker", "_layers") and not name.startswith("_self_"):
            attributes[name] = _replaced(attributes[name], new, found)
    for old, made in swaps:
        if id(old) not in found:
            raise LowRankError(
                f"Layer '{old.name}' inside {type(holder).__name__} '{holder.name}' cannot be replaced: it is not found among "
                "its attributes, nor in a list, tuple or dict among them. Keep it in one, or leave the layer out with "
                "`exclude`."
            )
        holder._tracker.replace_tracked_value("layers", old, made)


def _replaced(value, new: dict[int, keras.layers.Layer], found: set[int]):
    """Returns a value with layers replaced, by id, and notes which; lists and dicts are changed in place."""
    if id(value) in new:
        found.add(id(value))
        return new[id(value)]
    if isinstance(value, dict):
        _set(dict.__setitem__, value, value.items(), new, found)
    elif isinstance(value, list):
        _set(list.__setitem__, value, enumerate(value), new, found)
    elif isinstance(value, tuple):
        parts = [_replaced(each, new, found) for each in value]
        if any(part is not each for part, each in zip(parts, value, strict=True)):
            kind = value.__class__  # TensorFlow wraps tuples; this is the class of what is wrapped
            return kind(*parts) if hasattr(value, "_fields") else kind(parts)
    return value


def _set(put: Callable, value, items, new: dict[int, keras.layers.Layer], found: set[int]) -> None:
    for key, each in list(items):
        made = _replaced(each, new, found)
        if made is not each:
            put(value, key, made)
