"""The data of a search: what trials may train on, and what they are scored on."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np

from lrpet_tf.errors import LowRankError
from lrpet_tf.search.rows import Rows, as_arrays, split_rows

# Parts that the held-out data are scored in; after each but the last a trial may be stopped.
PARTS = 5


class SearchData(NamedTuple):
    """What a search works on.

    Attributes:
        training: Makes the data to train on and to recalibrate batch norms with, in the same order each time.
        held_out: The data to score on, or `None` where the user's own function scores.
    """

    training: Callable[[], Any]
    held_out: Any


def _check_repeatable(name: str, data) -> None:
    if data is None or hasattr(data, "__next__"):
        raise LowRankError(
            f"`{name}` must be a tuple of arrays (inputs, targets), a tf.data.Dataset or a PyDataset: data that can be read "
            f"again for each trial. Received: {name} of type {type(data).__name__}"
        )


def search_data(train, scored_on, *, holdout: float, batch_size: int, seed: int, own_score: bool) -> SearchData:
    """Splits the training data, or takes the two parts as the user gives them.

    Args:
        train: Training data as `fit` takes them.
        scored_on: Data to score on, or `None` to hold out a part of `train`.
        holdout: Share of `train` that is held out, in (0, 1).
        batch_size: Size of the batches that arrays are cut into.
        seed: Seed of the split and of the order.
        own_score: Whether the user's own function scores, on data of its own.

    Returns:
        The data.

    Raises:
        LowRankError: The data cannot be read twice, or not be split.
    """
    _check_repeatable("train", train)
    arrays = as_arrays(train)
    count = 0 if arrays is None else len(keras.tree.flatten(arrays)[0])
    if own_score or scored_on is not None:
        training = (lambda: train) if arrays is None else _shuffled(arrays, np.arange(count), batch_size, seed)
        return SearchData(training, None if own_score else _given(scored_on, batch_size))
    if arrays is None:
        raise LowRankError(
            f"Only arrays can be split into a part to train on and a part to score on. Received: train of type "
            f"{type(train).__name__}. Give data to score on as `scored_on`: training data that `train` does not hold, never "
            "the test set."
        )
    rest, held = split_rows(count, holdout, seed)
    return SearchData(_shuffled(arrays, rest, batch_size, seed), _in_parts(arrays, held, batch_size))


def _shuffled(arrays, rows, batch_size: int, seed: int) -> Callable[[], Rows]:
    return lambda: Rows(arrays, rows, batch_size, seed)


def _in_parts(arrays, rows, batch_size: int) -> Rows:
    """Returns batches, no fewer than there are parts as long as there are rows for it."""
    return Rows(arrays, rows, min(batch_size, -(-len(rows) // PARTS)))


def _given(scored_on, batch_size: int):
    _check_repeatable("scored_on", scored_on)
    arrays = as_arrays(scored_on)
    return scored_on if arrays is None else _in_parts(arrays, np.arange(len(keras.tree.flatten(arrays)[0])), batch_size)
