"""Samples that a model and its exported file are compared on."""

import keras
import numpy as np

from lrpet_tf.data import first_examples
from lrpet_tf.errors import ExportError, LowRankError
from lrpet_tf.graph import input_layer


def read_samples(model: keras.Model, samples, count: int, argument: str = "samples") -> tuple[list[np.ndarray], object]:
    """Returns the first samples as one array for each input of the model, and their targets.

    Args:
        model: A built model.
        samples: Data as `fit` and `predict` take it, targets or not; `None` for random numbers.
        count: Largest number of samples.
        argument: Name of the argument that they came in, for the message.

    Returns:
        Arrays in the flattened order of the model's inputs, of the inputs' dtypes; and a structure of targets, or `None`.

    Raises:
        ExportError: The samples do not fit the inputs of the model, or there are none.
    """
    if samples is None:
        return [_random(tensor, min(count, 16)) for tensor in model.inputs], None
    try:
        found, targets = first_examples(samples, count)
    except LowRankError as error:
        raise ExportError(f"`{argument}`: {error}") from error
    return _fitted(model, found, argument), targets


def _fitted(model: keras.Model, found, argument: str) -> list[np.ndarray]:
    """Returns samples in the order of the model's inputs, each of the shape and dtype of its input."""
    names = [input_layer(tensor).name for tensor in model.inputs]
    if isinstance(found, dict) and set(names) <= set(found):
        arrays = [found[name] for name in names]
    else:
        arrays = keras.tree.flatten(found)
    if len(arrays) != len(names):
        raise ExportError(
            f"`{argument}`: expected samples for the {len(names)} inputs of model '{model.name}' "
            f"({', '.join(names)}), as a list or a dict. "
            f"Received: {len(arrays)} arrays"
        )
    if len({len(array) for array in arrays}) > 1:
        raise ExportError(
            f"`{argument}`: expected the same number of samples for every input of model '{model.name}'. Received: "
            f"{[len(a) for a in arrays]}"
        )
    for name, tensor, array in zip(names, model.inputs, arrays, strict=True):
        expected = tuple(tensor.shape[1:])
        fits = len(expected) == array.ndim - 1 and all(
            size in (None, given) for size, given in zip(expected, array.shape[1:], strict=True)
        )
        if not fits:
            raise ExportError(
                f"`{argument}`: expected samples of shape (count, {', '.join(map(str, expected))}) for input '{name}' of model "
                f"'{model.name}'. Received: shape {array.shape}"
            )
    return [array.astype(tensor.dtype) for tensor, array in zip(model.inputs, arrays, strict=True)]


def _random(tensor: keras.KerasTensor, count: int) -> np.ndarray:
    shape = (count, *(size or 32 for size in tensor.shape[1:]))
    rng = np.random.default_rng(0)
    if "float" in tensor.dtype:
        return rng.standard_normal(shape).astype(tensor.dtype)
    return rng.integers(0, 2, shape).astype(tensor.dtype)
