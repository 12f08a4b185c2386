"""Which engine is the fastest for a matrix, by shape, rank, precision and device.

The thresholds are measured: those of `measured.json` come with the library, and `tools/engines.py` measures them on another
machine; the environment variable `LRPET_ENGINES` names the file that it writes.
"""

import dataclasses
import functools
import json
import os
import pathlib

import keras

from lrpet_tf.errors import LowRankError

_VARIABLE = "LRPET_ENGINES"


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """Where one engine becomes faster than another.

    Attributes:
        svd_up_to: The largest smaller side of a matrix for which a full SVD is the fastest.
        subspace_from: The least smaller side from which a step from the last projection is faster than starting afresh.
        randomized_below: The share of the smaller side under which a rank is found faster by a randomized range finder.
    """

    svd_up_to: int
    subspace_from: int
    randomized_below: float


def choose_engine(sides: tuple[int, int], rank, warm: bool, dtype: str) -> str:
    """Returns the fastest engine.

    Args:
        sides: Rows and columns of the matrix.
        rank: Number of directions: an int, or a tensor.
        warm: Whether there is a basis to start from.
        dtype: `"float32"`, or `"float64"`, where an iteration would have to converge much further than in training it needs to.
    """
    limits = thresholds(os.environ.get(_VARIABLE), keras.backend.backend(), device_kind())
    smaller = min(sides)
    if smaller <= limits.svd_up_to:
        return "svd"
    if warm and smaller >= limits.subspace_from and dtype == "float32":
        return "subspace"
    if isinstance(rank, int) and rank <= limits.randomized_below * smaller and not warm:
        return "randomized"
    return "gram"


@functools.cache
def thresholds(path: str | None, backend: str, device: str) -> Thresholds:
    """Returns the thresholds of a device.

    Args:
        path: A JSON file in the place of the one that comes with the library, or `None`.
        backend: Name of the Keras backend.
        device: `"cpu"` or `"gpu"`.

    Raises:
        LowRankError: The file cannot be read, or does not hold thresholds.
    """
    file = pathlib.Path(__file__).with_name("measured.json") if path is None else pathlib.Path(path)
    try:
        measured = json.loads(file.read_text())
        found = measured.get(f"{backend}/{device}") or measured[device]
        return Thresholds(**found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LowRankError(
            f"{_VARIABLE} names the file '{file}', which holds no thresholds for {backend}/{device}: {error!r}. "
            "Write it with tools/engines.py, or unset the variable."
        ) from error


@functools.cache
def device_kind() -> str:
    """Returns `"gpu"` where the backend computes on an accelerator by default, else `"cpu"`."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return "gpu" if tf.config.list_logical_devices("GPU") else "cpu"
    if backend == "jax":
        import jax

        return "cpu" if jax.default_backend() == "cpu" else "gpu"
    import torch

    return "gpu" if torch.cuda.is_available() else "cpu"
