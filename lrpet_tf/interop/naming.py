"""The names of layers in a flat tf_keras model, by their paths in the Keras model."""

import re
from collections import Counter
from collections.abc import Iterable

import keras

from lrpet_tf.graph import read_graph


def unique(name: str, taken: Iterable[str]) -> str:
    """Returns a name that TensorFlow takes for a scope, with a number where it is taken."""
    name = re.sub(r"[^A-Za-z0-9_.]", "_", name)
    name = plain = name if re.match(r"[A-Za-z0-9.]", name) else f"layer{name}"
    number = 1
    while name in taken:
        number += 1
        name = f"{plain}_{number}"
    return name


def flat_names(model: keras.Model) -> dict[str, tuple[keras.Operation, str]]:
    """Returns each layer and operation of a graph, by path, with its name in a flat model; not the layers inside of layers.

    Args:
        model: A model with a graph.

    Returns:
        By path: the layer, and its own name where no other layer has it, else its path with `_` for `/`.
    """
    # What stands inside of a layer is carried with it.
    layers = {call.path: call.layer for call in read_graph(model).calls if not call.within}
    counts = Counter(path.rpartition("/")[2] for path in layers)
    names, taken = {}, set()
    for path, layer in layers.items():
        short = path.rpartition("/")[2]
        name = unique(short if counts[short] == 1 else path, taken)
        taken.add(name)
        names[path] = layer, name
    return names
