"""Whether a model and its copy in tf_keras compute the same."""

import keras
import numpy as np

from lrpet_tf.errors import LowRankError
from lrpet_tf.interop.feeding import packed

# Largest difference between a model and its copy, as a share of the largest output, by what it computes in.
_TOLERANCES = {"float16": 3e-2, "bfloat16": 2e-1}


def check_agreement(model: keras.Model, copy) -> None:
    """Runs a model and its copy on random inputs.

    Raises:
        LowRankError: The outputs differ.
    """
    rng = np.random.default_rng(0)
    arrays = [_random(tensor, rng) for tensor in model.inputs]
    one, other = (
        [keras.ops.convert_to_numpy(each).astype("float64") for each in keras.tree.flatten(outputs)]
        for outputs in (model(packed(model, arrays), training=False), copy(packed(model, arrays), training=False))
    )
    tolerance = max(_TOLERANCES.get(getattr(each, "compute_dtype", None), 1e-4) for each in model._flatten_layers())
    for name, expected, given in zip(copy.output_names, one, other, strict=True):
        difference = np.max(np.abs(expected - given), initial=0, where=~(np.isnan(expected) & np.isnan(given)))
        if not difference <= tolerance * max(1.0, np.max(np.abs(expected), initial=0, where=~np.isnan(expected))):
            raise LowRankError(
                f"The copy of model '{model.name}' in tf_keras gives another output '{name}': it differs by {difference:.3g}. "
                "A layer means something else there. Please report this with the model."
            )


def _random(tensor: keras.KerasTensor, rng: np.random.Generator) -> np.ndarray:
    shape = [size or 32 for size in tensor.shape[1:]]
    if "float" in tensor.dtype:
        return rng.standard_normal((2, *shape)).astype(tensor.dtype)
    return rng.integers(0, 2, (2, *shape)).astype(tensor.dtype)
