"""The ranges of the values between the operators of a file, observed on samples."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lrpet_tf.errors import ExportError
from lrpet_tf.litert.conversion import Converted
from lrpet_tf.litert.flatbuffer import is_constant, text, unpack
from lrpet_tf.litert.naming import layers_of
from lrpet_tf.litert.runtime import Session, samples_of

_FLOAT32 = 0  # in LiteRT's schema
Ranges = Mapping[str, tuple[float, float]]


class Extremes:
    """The range from the smallest to the largest value of a tensor, over all samples.

    What calibrates in another way has the same two methods.
    """

    def __init__(self):
        self._least, self._largest = np.inf, -np.inf

    def see(self, values: np.ndarray) -> None:
        """Takes in the values of one sample.

        Args:
            values: An array of any shape; it is only good until the call returns.
        """
        self._least = min(self._least, float(values.min()))
        self._largest = max(self._largest, float(values.max()))

    def range(self) -> tuple[float, float]:
        """Returns the smallest and the largest value that integers are to stand for."""
        return self._least, self._largest


def activation_ranges(
    converted: Converted, samples: Sequence[np.ndarray], observer: Callable[[], Extremes] = Extremes
) -> dict[str, tuple[float, float]]:
    """Runs a file of floating values on samples, and returns the range of each tensor that it computes.

    Args:
        converted: The file.
        samples: One array for each input, in the order of `converted.inputs`; the first axis counts the samples.
        observer: Makes what turns the values of one tensor into its range.

    Returns:
        `(least, largest)` by the name of the tensor. Constants, and tensors inside of loops, are not among them.

    Raises:
        ExportError: A value is NaN or infinite.
    """
    names = _observed(unpack(converted.content))
    session = Session(converted, delegates=False, keep=True)
    observers = {index: observer() for index in names}
    seen = set()
    for sample in samples_of(converted, samples):
        session(sample)
        for index in names:
            values = _values(session.interpreter, index)
            if values is not None and values.size:
                _check_finite(values, names[index], converted)
                observers[index].see(values)
                seen.add(index)
    return {names[index]: observers[index].range() for index in names if index in seen}


def _observed(model) -> dict[int, str]:
    """Returns the names of the tensors of floating values that something reads, by index: nothing may ever fill the others."""
    graph = model.subgraphs[0]
    read = {int(index) for operator in graph.operators for index in operator.inputs} | {int(index) for index in graph.outputs}
    tensors = ((index, graph.tensors[index]) for index in sorted(read - {-1}))
    return {index: text(each.name) for index, each in tensors if each.type == _FLOAT32 and not is_constant(model, each)}


def _values(interpreter, index: int) -> np.ndarray | None:
    try:
        return interpreter.get_tensor(index)
    except ValueError:  # a tensor that no operator fills
        return None


def _check_finite(values: np.ndarray, name: str, converted: Converted) -> None:
    if not np.isfinite(values).all():
        paths = layers_of(name, converted.scopes)
        raise ExportError(
            f"NaN or infinite values come out of {', '.join(map(repr, paths)) or repr(name)} on the representative data: there "
            "is no range to quantize. Check the data and the weights."
        )
