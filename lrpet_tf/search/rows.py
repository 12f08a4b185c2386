"""Splitting training data into a part to train on and a part to score on."""

import keras
import numpy as np

from lrpet_tf.errors import LowRankError


class Rows(keras.utils.PyDataset):
    """Batches of some rows of arrays, without a copy of them all.

    Args:
        arrays: A tuple of structures of NumPy arrays: inputs, targets and perhaps sample weights.
        rows: Indices of the rows.
        batch_size: Rows of a batch.
        seed: Seed by which the rows are put in a new order each epoch, or `None` to keep them in theirs.
    """

    def __init__(self, arrays: tuple, rows: np.ndarray, batch_size: int, seed: int | None = None):
        super().__init__()
        self._arrays, self._rows, self._batch_size = arrays, rows, batch_size
        self._generator = None if seed is None else np.random.default_rng(seed)
        self.on_epoch_end()

    @property
    def num_batches(self) -> int:
        """Number of batches."""
        return -(-len(self._rows) // self._batch_size)

    def __getitem__(self, index: int) -> tuple:
        """Returns a batch."""
        rows = self._rows[index * self._batch_size : (index + 1) * self._batch_size]
        return keras.tree.map_structure(lambda array: array[rows], self._arrays)

    def on_epoch_end(self) -> None:
        """Puts the rows in a new order."""
        if self._generator is not None:
            self._rows = self._generator.permutation(self._rows)


def _as_numpy(array) -> np.ndarray:
    return array if isinstance(array, np.ndarray) else np.asarray(keras.ops.convert_to_numpy(array))


def as_arrays(data) -> tuple | None:
    """Returns a tuple of arrays as NumPy arrays, or `None` for data of another kind.

    Raises:
        LowRankError: The arrays are not equally long, or empty.
    """
    leaves = keras.tree.flatten(data) if isinstance(data, tuple) else [data]
    if not all(hasattr(leaf, "shape") and hasattr(leaf, "dtype") for leaf in leaves):
        return None
    if not isinstance(data, tuple):
        data = (data,)
    arrays = keras.tree.map_structure(_as_numpy, data)
    lengths = {len(array) for array in keras.tree.flatten(arrays)}
    if len(lengths) != 1 or 0 in lengths:
        raise LowRankError(f"Expected arrays of one length of at least 1. Received: lengths {sorted(lengths)}")
    return arrays


def split_rows(count: int, holdout: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws the rows that are held out.

    Args:
        count: Number of rows.
        holdout: Share that is held out, in (0, 1).
        seed: Seed of the drawing.

    Returns:
        The rows to train on, ascending, and those that are held out, in random order so that each part of them is a sample.

    Raises:
        LowRankError: One of the two would be empty.
    """
    held = round(holdout * count)
    if not 0 < held < count:
        raise LowRankError(
            f"`holdout` leaves {held} of {count} rows to score on; it must leave at least one, and one to train on. "
            f"Received: holdout={holdout!r}"
        )
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[held:]), order[:held]
