"""The data that an export takes: samples to compare on, labels, and representative data."""

from typing import NamedTuple

import keras
import numpy as np

from lrpet_tf.errors import ExportError
from lrpet_tf.export.quantize import Mode
from lrpet_tf.export.samples import read_samples
from lrpet_tf.export.scale import check_normalisation, check_scales, check_statistics


class ExportData(NamedTuple):
    """Data for one export.

    Attributes:
        samples: Inputs to compare on, one array for each input of the model.
        random: Whether they are random numbers, since none were given.
        targets: Targets or labels of the samples, or `None`.
        labelled: Whether these were given as labels.
        calibration: Inputs that the ranges of integers are taken from; `None` where none are.
    """

    samples: list[np.ndarray]
    random: bool
    targets: object
    labelled: bool
    calibration: list[np.ndarray] | None


def read_data(
    model: keras.Model, mode: Mode, samples, labels, representative_data, max_samples: int, calibration_samples: int
) -> ExportData:
    """Reads and checks the data of an export; see `export_tflite` for the arguments.

    Raises:
        ExportError: Representative data is needed and missing; data does not fit the model, or is of two scales; there are
            fewer labels than samples; or a number of samples is not positive.
    """
    if max_samples < 1 or calibration_samples < 1:
        raise ExportError(
            f"`max_samples` and `calibration_samples` must be at least 1. Received: max_samples={max_samples!r}, "
            f"calibration_samples={calibration_samples!r}"
        )
    if mode.needs_data and representative_data is None:
        raise ExportError(
            f"To make {mode.about}, the ranges of the values must be known: pass representative_data=, some 100 "
            f"inputs as in training, "
            "such as the training or validation data. Received: representative_data=None"
        )
    known, random = None, samples is None and representative_data is None
    if representative_data is not None:
        most = calibration_samples if samples is not None else max(calibration_samples, max_samples)
        known, targets = read_samples(model, representative_data, most, "representative_data")
        _check_values(model, known, "representative_data")
    if samples is not None or known is None:
        arrays, targets = read_samples(model, samples, max_samples)
    else:
        arrays, targets = [array[:max_samples] for array in known], _first(targets, max_samples)
    calibration = [array[:calibration_samples] for array in known] if mode.needs_data else None
    if samples is not None:
        _check_values(model, arrays, "samples")
    if samples is not None and calibration is not None:
        check_scales(model, calibration, arrays)
    if labels is not None:
        targets = _checked_labels(labels, len(arrays[0]))
    return ExportData(arrays, random, targets, labels is not None, calibration)


def _check_values(model: keras.Model, arrays: list[np.ndarray], argument: str) -> None:
    for array in arrays:
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ExportError(f"`{argument}` holds NaN or infinite values. Received: an array of shape {array.shape}")
    check_normalisation(model, arrays, argument)
    check_statistics(model, arrays, argument)


def _first(targets, count: int):
    return None if targets is None else keras.tree.map_structure(lambda each: each[:count], targets)


def _checked_labels(labels, count: int):
    arrays = keras.tree.map_structure(np.asarray, labels) if isinstance(labels, dict) else np.asarray(labels)
    lengths = {len(array) if array.ndim else 0 for array in keras.tree.flatten(arrays)}
    if min(lengths) < count:
        raise ExportError(
            f"`labels` must hold a label for each of the {count} samples that are used. Received: {min(lengths)} labels"
        )
    return _first(arrays, count)
