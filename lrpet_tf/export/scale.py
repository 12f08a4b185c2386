"""Whether data is of the scale that a model takes: quantized ranges are those of the data that calibrated them."""

import warnings
from collections.abc import Sequence

import keras
import numpy as np

from lrpet_tf.adapters.batch_norm import is_batch_norm
from lrpet_tf.errors import ExportError
from lrpet_tf.graph import input_layer, is_graph

# Share of the values of the samples that may lie beyond those of the representative data, before there is a warning and an
# error; and how many times wider than the samples the representative data may be, likewise.
_BEYOND_WARNS, _BEYOND_FAILS = 0.02, 0.25
_WIDER_WARNS, _WIDER_FAILS = 4.0, 16.0
# What comes out of a layer that normalises inputs spans about 1 or 2, or has a standard deviation of about 1.
_LEAST_SPREAD, _LARGEST_SPREAD = 0.02, 50.0
# How many times larger or smaller than in training values may be before they are taken for values of another scale.
_OTHER_SCALE = 8.0


def check_scales(model: keras.Model, calibration: Sequence[np.ndarray], samples: Sequence[np.ndarray]) -> None:
    """Compares the values of representative data with those of the samples, input by input; integers are not looked at.

    Args:
        model: The model.
        calibration: Representative inputs, in the order of the model's.
        samples: Inputs to compare on.

    Raises:
        ExportError: They are of different scales: a quarter of the samples' values lie beyond the representative ones, or
            those span 16 times as much.

    Warns:
        UserWarning: They differ by less, but noticeably.
    """
    for tensor, known, given in zip(model.inputs, calibration, samples, strict=True):
        if known.dtype.kind != "f":
            continue
        low, high = float(known.min()), float(known.max())
        margin = 0.05 * (high - low)
        beyond = float(np.mean((given < low - margin) | (given > high + margin)))
        spans = [float(np.subtract(*np.quantile(values, (0.99, 0.01)))) for values in (known, given)]
        wider = spans[0] / spans[1] if spans[1] else 1.0
        if beyond <= _BEYOND_WARNS and wider <= _WIDER_WARNS:
            continue
        message = (
            f"The representative data for input '{input_layer(tensor).name}' of model '{model.name}' is of another "
            f"scale than the "
            f"samples: it lies between {low:.3g} and {high:.3g}, and they between {given.min():.3g} and "
            f"{given.max():.3g}. What lies "
            "beyond its range is cut off, and a range that is too wide wastes the integers. Prepare both as in training."
        )
        if beyond > _BEYOND_FAILS or wider > _WIDER_FAILS:
            raise ExportError(message)
        warnings.warn(message, stacklevel=4)


def check_normalisation(model: keras.Model, arrays: Sequence[np.ndarray], what: str) -> None:
    """Looks at what a layer that normalises an input, as the first of a model, makes of data.

    Args:
        model: The model.
        arrays: Inputs, in the order of the model's.
        what: Name of the argument that they came in, for the message.

    Warns:
        UserWarning: Almost nothing is left of the values, or they are as large as if the layer was not meant for them: data of
            0 to 1 for a model that divides by 255, for instance.
    """
    if not is_graph(model):
        return
    for tensor, array in zip(model.inputs, arrays, strict=True):
        layer = _normaliser(model, tensor)
        if layer is None or array.dtype.kind != "f":
            continue
        values = np.asarray(keras.ops.convert_to_numpy(layer(array[:32])))
        spread = float(np.subtract(*np.quantile(values, (0.99, 0.01))))
        if spread < _LEAST_SPREAD or np.abs(values).max() > _LARGEST_SPREAD:
            warnings.warn(
                f"`{what}`: layer '{layer.name}' normalises input '{input_layer(tensor).name}' of model "
                f"'{model.name}', and turns values "
                f"between {array.min():.3g} and {array.max():.3g} into values between {values.min():.3g} and "
                f"{values.max():.3g}. They "
                "seem to be of another scale than the model was trained on, as if they had been normalised before.",
                stacklevel=4,
            )


def check_statistics(model: keras.Model, arrays: Sequence[np.ndarray], what: str) -> None:
    """Compares data with what the first batch norm of a model saw in training, which tells the scale of the inputs.

    Args:
        model: The model; one without a batch norm of its own, or that was not trained, is not looked at.
        arrays: Inputs, in the order of the model's.
        what: Name of the argument that they came in, for the message.

    Warns:
        UserWarning: What comes to the batch norm is several times larger or smaller than its moving statistics say.
    """
    layer = _first_batch_norm(model)
    if layer is None or any(array.dtype.kind != "f" for array in arrays):
        return
    mean, variance = (keras.ops.convert_to_numpy(each) for each in (layer.moving_mean, layer.moving_variance))
    expected = float(np.sqrt(np.mean(variance + mean**2)))
    inside = keras.Model(model.inputs, layer.input)
    values = keras.ops.convert_to_numpy(inside([array[:32] for array in arrays], training=False))
    ratio = float(np.sqrt(np.mean(np.square(values, dtype=np.float64)))) / expected
    if not 1 / _OTHER_SCALE < ratio < _OTHER_SCALE:
        warnings.warn(
            f"`{what}`: what comes to batch norm '{layer.name}' of model '{model.name}' is {ratio:.3g} times as large "
            f"as in training. "
            f"The data, between {min(a.min() for a in arrays):.3g} and {max(a.max() for a in arrays):.3g}, seems to "
            f"be of another "
            "scale than the model was trained on.",
            stacklevel=4,
        )


def _first_batch_norm(model: keras.Model):
    """Returns the first batch norm that stands in a model itself and was trained, or `None`."""
    if not is_graph(model):
        return None
    found = next((each for each in model.layers if is_batch_norm(each) and len(each._inbound_nodes) == 1), None)
    trained = found is not None and bool(np.any(keras.ops.convert_to_numpy(found.moving_mean)))
    return found if trained else None


def _normaliser(model: keras.Model, tensor: keras.KerasTensor) -> keras.layers.Layer | None:
    """Returns the Rescaling or Normalization layer that alone takes an input, or `None`."""
    if isinstance(model, keras.Sequential):
        first = model.layers[0] if model.layers else None
        return first if isinstance(first, _NORMALISERS) else None
    makers = tensor._keras_history.operation
    takers = [node.operation for node in makers._outbound_nodes if node.operation in model.operations]
    return takers[0] if len(takers) == 1 and isinstance(takers[0], _NORMALISERS) else None


_NORMALISERS = (keras.layers.Rescaling, keras.layers.Normalization)
