"""Reading model inputs from whatever `fit` and `predict` take."""

from collections.abc import Iterator

import keras
import numpy as np

from lrpet_tf.errors import LowRankError

_EMPTY = "Expected data with at least one sample. Received: an empty data set"


def _is_array(value) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _holds_arrays(value) -> bool:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return len(parts) > 0 and all(map(_is_array, parts))


def _inputs_of(batch):
    """Returns the inputs of `inputs`, `(inputs, targets)` or `(inputs, targets, sample weights)`."""
    return batch[0] if isinstance(batch, tuple) else batch


def _targets_of(batch):
    """Returns the targets of `(inputs, targets)` or `(inputs, targets, sample weights)`, or `None`."""
    return batch[1] if isinstance(batch, tuple) and len(batch) > 1 else None


def _slices(arrays, batch_size: int) -> Iterator:
    count = len(keras.tree.flatten(_inputs_of(arrays))[0])
    for start in range(0, count, batch_size):
        yield keras.tree.map_structure(
            lambda each, start=start: None if each is None else each[start : start + batch_size], arrays
        )


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
    return map(_inputs_of, _batches(dataset, batch_size))


def _batches(dataset, batch_size: int) -> Iterator:
    """Yields batches as the data set holds them, with targets or without."""
    arrays = _inputs_of(dataset)
    if _is_array(arrays) or _holds_arrays(arrays):
        batches = _slices(_as_arrays(dataset), batch_size)
    elif isinstance(dataset, keras.utils.PyDataset):
        batches = (dataset[index] for index in range(dataset.num_batches))
    elif hasattr(dataset, "__iter__") and not isinstance(dataset, (str, bytes, dict, tuple)):
        batches = dataset
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
        raise LowRankError(_EMPTY)


def _as_arrays(dataset):
    """Returns arrays with targets that can be cut as well, given as a list or not."""
    if not isinstance(dataset, tuple):
        return dataset
    return (dataset[0], *(part if part is None or _sliceable(part) else np.asarray(part) for part in dataset[1:]))


def _sliceable(part) -> bool:
    return _is_array(part) or _holds_arrays(part)


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
    return first_examples(dataset, count)[0]


def first_examples(dataset, count: int):
    """Returns the first samples of a data set and their targets as NumPy arrays.

    Args:
        dataset: See `input_batches`.
        count: Largest number of samples.

    Returns:
        A structure of arrays as the model takes it, and one of targets or `None`, of at most `count` samples.

    Raises:
        LowRankError: The data set is of no readable kind, or holds nothing.
    """
    parts, targets, found = [], [], 0
    for batch in _batches(dataset, count):
        parts.append(keras.tree.map_structure(_to_numpy, _inputs_of(batch)))
        targets.append(keras.tree.map_structure(_to_numpy, _targets_of(batch)))
        found += len(keras.tree.flatten(parts[-1])[0])
        if found >= count:
            break
    if not found:
        raise LowRankError(_EMPTY)
    inputs = keras.tree.map_structure(lambda *arrays: np.concatenate(arrays)[:count], *parts)
    if any(each is None for each in targets):
        return inputs, None
    return inputs, keras.tree.map_structure(lambda *arrays: np.concatenate(arrays)[:count], *targets)


def _to_numpy(tensor):
    return None if tensor is None else np.asarray(keras.ops.convert_to_numpy(tensor))
