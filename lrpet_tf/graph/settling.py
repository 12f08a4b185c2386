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
            _put(copy, twin, made)
    carry_state(source, copy)


def _are_alike(one: keras.layers.Layer, other: keras.layers.Layer) -> bool:
    shapes = ([tuple(variable.shape) for variable in own_variables(each)] for each in (one, other))
    return type(one) is type(other) and len({*map(str, shapes)}) == 1


def _put(holder: keras.layers.Layer, old: keras.layers.Layer, new: keras.layers.Layer) -> None:
    """Replaces a layer by another in all attributes of its holder, and in the lists and dicts among them."""
    attributes = vars(holder)
    # The books that Keras and TensorFlow keep are not where code finds a layer.
    names = [name for name in attributes if name not in ("_tracker", "_layers") and not name.startswith("_self_")]
    if not any(_holds(attributes[name], old) for name in names):
        raise LowRankError(
            f"Layer '{old.name}' inside {type(holder).__name__} '{holder.name}' cannot be replaced: it is not found among its "
            "attributes, nor in a list, tuple or dict among them. Keep it in one, or leave the layer out with `exclude`."
        )
    holder._tracker.replace_tracked_value("layers", old, new)
    for name in names:
        attributes[name] = _replaced(attributes[name], old, new)


def _holds(value, layer) -> bool:
    if value is layer:
        return True
    if isinstance(value, dict):
        return any(_holds(each, layer) for each in value.values())
    return isinstance(value, (list, tuple)) and any(_holds(each, layer) for each in value)


def _replaced(value, old, new):
    """Returns a value with one layer replaced; lists and dicts are changed in place."""
    if value is old:
        return new
    if not _holds(value, old):
        return value
    if isinstance(value, list):
        for index, each in enumerate(value):
            list.__setitem__(value, index, _replaced(each, old, new))
    elif isinstance(value, dict):
        for key, each in value.items():
            dict.__setitem__(value, key, _replaced(each, old, new))
    else:
        parts = [_replaced(each, old, new) for each in value]
        kind = value.__class__  # TensorFlow wraps tuples; this is the class of what is wrapped
        return kind(*parts) if hasattr(value, "_fields") else kind(parts)
    return value
