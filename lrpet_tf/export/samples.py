"""Samples that a model and its exported file are compared on."""

import keras
import numpy as np

from lrpet_tf.data import first_samples
from lrpet_tf.errors import ExportError
from lrpet_tf.graph import input_layer


def read_samples(model: keras.Model, samples, count: int) -> list[np.ndarray]:
    """Returns the first samples as one array for each input of the model.

    Args:
        model: A built model.
        samples: Data as `fit` and `predict` take it, targets or not; `None` for random numbers.
        count: Largest number of samples.

    Returns:
        Arrays in the flattened order of the model's inputs, of the inputs' dtypes.

    Raises:
        ExportError: The samples do not fit the inputs of the model.
    """
    if samples is None:
        return [_random(tensor, min(count, 16)) for tensor in model.inputs]
    found = first_samples(samples, count)
    names = [input_layer(tensor).name for tensor in model.inputs]
    if isinstance(found, dict) and set(names) <= set(found):
        arrays = [found[name] for name in names]
    else:
        arrays = keras.tree.flatten(found)
    if len(arrays) != len(names):
        raise ExportError(
            f"Expected samples for the {len(names)} inputs of model '{model.name}' ({', '.join(names)}), as a list or a dict. "
            f"Received: {len(arrays)} arrays"
        )
    if len({len(array) for array in arrays}) > 1:
        raise ExportError(
            f"Expected the same number of samples for every input of model '{model.name}'. Received: {[len(a) for a in arrays]}"
        )
    for name, tensor, array in zip(names, model.inputs, arrays, strict=True):
        expected = tuple(tensor.shape[1:])
        fits = len(expected) == array.ndim - 1 and all(
            size in (None, given) for size, given in zip(expected, array.shape[1:], strict=True)
        )
        if not fits:
            raise ExportError(
                f"Expected samples of shape (count, {', '.join(map(str, expected))}) for input '{name}' of model "
                f"'{model.name}'. Received: shape {array.shape}"
            )
    return [array.astype(tensor.dtype) for tensor, array in zip(model.inputs, arrays, strict=True)]


def _random(tensor: keras.KerasTensor, count: int) -> np.ndarray:
    shape = (count, *(size or 32 for size in tensor.shape[1:]))
    rng = np.random.default_rng(0)
    if "float" in tensor.dtype:
        return rng.standard_normal(shape).astype(tensor.dtype)
    return rng.integers(0, 2, shape).astype(tensor.dtype)
