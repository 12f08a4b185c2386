"""Reading model inputs from whatever `fit` and `predict` take."""

from collections.abc import Iterator

import keras
import numpy as np

from lrpet_tf.errors import LowRankError


def _is_array(value) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _holds_arrays(value) -> bool:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return len(parts) > 0 and all(map(_is_array, parts))


def _inputs_of(batch):
    """Returns the inputs of `inputs`, `(inputs, targets)` or `(inputs, targets, sample weights)`."""
    return batch[0] if isinstance(batch, tuple) else batch


def _slices(inputs, batch_size: int) -> Iterator:
    count = len(keras.tree.flatten(inputs)[0])
    for start in range(0, count, batch_size):
        yield keras.tree.map_structure(lambda array, start=start: array[start : start + batch_size], inputs)


def input_batches(dataset, *, batch_size: int = 128) -> Iterator:
    """Yields batches of model inputs.

    Args:
        dataset: An array; a tuple of inputs and targets; a list or dict of arrays for several inputs; or an iterable of
            batches, such as a `tf.data.Dataset`, a `PyDataset` or a generator, each `inputs`, `(inputs, targets)` or
            `(inputs, targets, weights)`.
        batch_size: Size of the batches that arrays are cut into.

    Yields:
        Batches of inputs, structured as the model takes them.

    Raises:
        LowRankError: The data set is of no such kind, or holds nothing.
    """
    arrays = _inputs_of(dataset)
    if _is_array(arrays) or _holds_arrays(arrays):
        batches = _slices(arrays, batch_size)
    elif isinstance(dataset, keras.utils.PyDataset):
        batches = (_inputs_of(dataset[index]) for index in range(dataset.num_batches))
    elif hasattr(dataset, "__iter__") and not isinstance(dataset, (str, bytes, dict, tuple)):
        batches = map(_inputs_of, dataset)
    else:
        raise LowRankError(
            "Expected data as arrays, a tf.data.Dataset, a PyDataset or an iterable of batches. "
            f"Received: {type(dataset).__name__}"
        )
    empty = True
    for batch in batches:
        empty = False
        yield batch
    if empty:
        raise LowRankError("Expected data with at least one sample. Received: an empty data set")


def first_samples(dataset, count: int):
    """Returns the first samples of a data set as NumPy arrays.

    Args:
        dataset: See `input_batches`.
        count: Largest number of samples.

    Returns:
        A structure of arrays as the model takes it, of at most `count` samples.

    Raises:
        LowRankError: The data set is of no readable kind, or holds nothing.
    """
    parts, found = [], 0
    for batch in input_batches(dataset, batch_size=count):
        parts.append(keras.tree.map_structure(lambda tensor: np.asarray(keras.ops.convert_to_numpy(tensor)), batch))
        found += len(keras.tree.flatten(parts[-1])[0])
        if found >= count:
            break
    return keras.tree.map_structure(lambda *arrays: np.concatenate(arrays)[:count], *parts)
