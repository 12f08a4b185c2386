"""How far two sets of outputs are apart."""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class OutputParity:
    """The agreement of one output with its reference, over all samples.

    Attributes:
        name: Name of the output.
        max_difference: Largest absolute difference.
        scale: Largest magnitude of the reference.
        cosine: Cosine of the angle between the two, over all samples together.
        top1_agreement: Share of the positions where the largest of the last axis is the same; `None` where that axis has a
            single entry.
        sqnr_db: Ratio of signal to noise in dB: ten times the decimal logarithm of the energy of the reference over that of the
            difference; infinite where they are equal.
    """

    name: str
    max_difference: float
    scale: float
    cosine: float
    top1_agreement: float | None
    sqnr_db: float = float("nan")

    @property
    def relative_difference(self) -> float:
        """Largest difference over the scale; the difference itself where the reference is zero."""
        return self.max_difference / self.scale if self.scale else self.max_difference


def compare(names: Sequence[str], references: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> tuple[OutputParity, ...]:
    """Compares outputs with their references.

    Args:
        names: Names of the outputs.
        references: Arrays, one an output.
        outputs: Arrays of the same shapes.

    Returns:
        The agreement of each output; NaN where an output holds NaN.
    """
    return tuple(_compare(*each) for each in zip(names, references, outputs, strict=True))


def _compare(name: str, reference: np.ndarray, output: np.ndarray) -> OutputParity:
    expected, given = np.asarray(reference, np.float64), np.asarray(output, np.float64)
    if expected.shape != given.shape:
        return OutputParity(name, float("nan"), float(np.max(np.abs(expected))), float("nan"), None)
    norms = np.linalg.norm(expected) * np.linalg.norm(given)
    same = np.array_equal(expected, given)
    top1 = None
    if expected.ndim > 1 and expected.shape[-1] > 1:
        top1 = float(np.mean(np.argmax(expected, -1) == np.argmax(given, -1)))
    return OutputParity(
        name,
        float(np.max(np.abs(expected - given))),
        float(np.max(np.abs(expected))),
        1.0 if same else float(np.sum(expected * given) / norms) if norms else 0.0,
        top1,
        _decibels(np.sum(expected**2), np.sum((expected - given) ** 2)),
    )


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return float("inf")
    return float(10 * np.log10(signal / noise)) if signal else float("-inf")
