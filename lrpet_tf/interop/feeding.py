"""Data in the shapes and the types that a model takes."""

from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np

from lrpet_tf.errors import LowRankError
from lrpet_tf.graph import input_layer


class Feed(NamedTuple):
    """What a model takes for one input."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


def feeds(model: keras.Model) -> list[Feed]:
    """Returns what a Keras 3 model with a graph takes, without the batch axis, in flattened order."""
    return [Feed(input_layer(tensor).name, tuple(tensor.shape[1:]), tensor.dtype) for tensor in model.inputs]


def fitted(model_name: str, expected: Sequence[Feed], batch) -> list[np.ndarray]:
    """Returns a batch of inputs as a model takes them.

    Args:
        model_name: Name of the model.
        expected: What it takes.
        batch: A tensor, or a list or dict of them.

    Returns:
        Arrays in flattened order, of the dtypes of the inputs.

    Raises:
        LowRankError: There are more or fewer of them than inputs, they are of another shape, or of several lengths.
    """
    names = [feed.name for feed in expected]
    by_name = isinstance(batch, dict) and set(names) <= set(batch)
    arrays = [batch[name] for name in names] if by_name else keras.tree.flatten(batch)
    if len(arrays) != len(names):
        raise LowRankError(
            f"Expected data for the {len(names)} inputs of model '{model_name}' ({', '.join(names)}), as a list or a dict. "
            f"Received: {len(arrays)} arrays"
        )
    arrays = [np.asarray(each) for each in arrays]
    for feed, array in zip(expected, arrays, strict=True):
        fits = array.ndim == len(feed.shape) + 1 and all(
            size in (None, given) for size, given in zip(feed.shape, array.shape[1:], strict=True)
        )
        if not fits:
            raise LowRankError(
                f"Expected data of shape (count, {', '.join(map(str, feed.shape))}) for input '{feed.name}' of model "
                f"'{model_name}'. Received: shape {array.shape}"
            )
    if len({len(array) for array in arrays}) > 1:
        raise LowRankError(
            f"Expected the same number of samples for every input of model '{model_name}'. "
            f"Received: {[len(array) for array in arrays]}"
        )
    return [array.astype(feed.dtype) for feed, array in zip(expected, arrays, strict=True)]


def packed(model: keras.Model, arrays: list):
    """Returns a flat list of inputs in the structure that a Keras 3 model takes."""
    return arrays[0] if isinstance(model, keras.Sequential) else keras.tree.pack_sequence_as(model.input, arrays)
