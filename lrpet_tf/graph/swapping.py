"""Putting other layers in the place of layers inside a layer, whose code finds them as its attributes."""

from collections.abc import Callable

import keras

from lrpet_tf.graph.replay import is_graph


def swap(source: keras.layers.Layer, copy: keras.layers.Layer, replace: Callable) -> None:
    """Replaces layers inside the copy of a layer, however deep, but not inside models with a graph, which are replaced whole.

    Args:
        source: A layer.
        copy: A built copy of it, the layers inside in the same order.
        replace: `replace(layer inside the source, its holder)` gives the built layer to put in the place of its copy, or
            `None`.
    """
    if is_graph(source):
        return
    for inner, twin in list(zip(source._layers, copy._layers, strict=True)):
        made = replace(inner, source)
        if made is None:
            swap(inner, twin, replace)
        elif made is not twin:
            _put(copy, twin, made)


def _put(holder: keras.layers.Layer, old: keras.layers.Layer, new: keras.layers.Layer) -> None:
    """Replaces a layer by another in all attributes of its holder, and in the lists and dicts among them."""
    tracker = holder._tracker
    tracker.replace_tracked_value("layers", old, new)
    for name, value in vars(holder).items():
        found = _replaced(value, old, new)
        if found is not value:
            vars(holder)[name] = found


def _replaced(value, old, new):
    """Returns a value with one layer replaced; lists and dicts are changed in place."""
    if value is old:
        return new
    if isinstance(value, list):
        for index, each in enumerate(value):
            list.__setitem__(value, index, _replaced(each, old, new))
    elif isinstance(value, dict):
        for key, each in value.items():
            dict.__setitem__(value, key, _replaced(each, old, new))
    elif isinstance(value, tuple) and any(each is old or isinstance(each, (list, dict, tuple)) for each in value):
        parts = [_replaced(each, old, new) for each in value]
        if any(part is not each for part, each in zip(parts, value, strict=True)):
            kind = value.__class__  # TensorFlow wraps tuples; this is the class of what is wrapped
            return kind(*parts) if hasattr(value, "_fields") else kind(parts)
    return value
