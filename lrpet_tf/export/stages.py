"""From the trained model to the file, stage by stage: where agreement and accuracy are lost."""

import dataclasses
from collections.abc import Mapping, Sequence

import keras
import numpy as np

from lrpet_tf.errors import ExportError
from lrpet_tf.export.parity import OutputParity, compare

STAGE_COLUMNS = ("stage", "largest difference", "signal to noise", "cosine", "top-1 agreement", "accuracy")


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage on the way to the file.

    Attributes:
        name: What it is, such as `"factorized Keras model"`.
        since_start: Agreement with the first stage, one entry an output; empty for the first.
        since_previous: Agreement with the stage before; empty for the first.
        accuracy: Share of the labels that it gets right, or `None` without labels.
    """

    name: str
    since_start: tuple[OutputParity, ...]
    since_previous: tuple[OutputParity, ...]
    accuracy: float | None

    def figures(self) -> dict[str, float | None]:
        """Returns the worst of each figure over the outputs: `None` for the first stage."""
        return worst(self.since_start)


def worst(parity: Sequence[OutputParity]) -> dict[str, float | None]:
    """Returns the worst of each figure over the outputs; `None` where there is none."""
    agreements = [each.top1_agreement for each in parity if each.top1_agreement is not None]
    return {
        "max_difference": max((each.max_difference for each in parity), default=None),
        "relative_difference": max((each.relative_difference for each in parity), default=None),
        "sqnr_db": min((each.sqnr_db for each in parity), default=None),
        "cosine": min((each.cosine for each in parity), default=None),
        "top1_agreement": min(agreements, default=None),
    }


def compare_stages(
    names: Sequence[str], outputs: Mapping[str, Sequence[np.ndarray]], labels: "Labels | None"
) -> tuple[Stage, ...]:
    """Compares each stage with the first and with the one before.

    Args:
        names: Names of the outputs.
        outputs: Arrays, one an output, by the name of the stage, in order.
        labels: What the accuracy is counted on.

    Returns:
        The stages.
    """
    stages, first, previous = [], None, None
    for name, arrays in outputs.items():
        since_start = () if first is None else compare(names, first, arrays)
        since_previous = () if previous is None else compare(names, previous, arrays)
        stages.append(Stage(name, since_start, since_previous, None if labels is None else labels.accuracy(arrays)))
        first, previous = first or arrays, arrays
    return tuple(stages)


@dataclasses.dataclass(frozen=True)
class Labels:
    """The right answers for one output.

    Attributes:
        output: Index of the output.
        answers: Indices of classes, or 0 and 1 where the output is a single number; of the output's shape without its last
            axis.
        threshold: Above it a single number means 1; `None` where there are several classes.
    """

    output: int
    answers: np.ndarray
    threshold: float | None

    def accuracy(self, outputs: Sequence[np.ndarray]) -> float:
        """Returns the share of right answers."""
        values = outputs[self.output]
        given = np.argmax(values, -1) if self.threshold is None else (values[..., 0] > self.threshold).astype(int)
        return float(np.mean(given == self.answers))


def read_labels(model: keras.Model, labels, outputs: Sequence[np.ndarray], *, given: bool) -> Labels | None:
    """Finds the output that labels belong to.

    Args:
        model: The model.
        labels: Indices of classes, one-hot rows, or 0 and 1 for a single number; a list or dict of these for several outputs,
            of which the first that holds labels counts. `None` for none.
        outputs: What the Keras model puts out for the samples.
        given: Whether the user gave them as labels; targets of a data set may be something else, such as numbers to regress on.

    Returns:
        The labels, or `None` where there are none.

    Raises:
        ExportError: They were given as labels, and fit no output.
    """
    if labels is None:
        return None
    if isinstance(labels, Mapping) and set(labels) <= set(getattr(model, "output_names", ())):
        candidates = [labels.get(name) for name in model.output_names]
    elif len(outputs) == 1:
        candidates = [labels]
    else:
        candidates = list(labels) if isinstance(labels, (list, tuple)) else [labels]
    for index, (candidate, values) in enumerate(zip(candidates, outputs, strict=False)):
        found = None if candidate is None else _matched(np.asarray(candidate), values)
        if found is not None:
            return Labels(index, *found)
    if given:
        shapes = ", ".join(str(np.shape(values)) for values in outputs)
        received = keras.tree.map_structure(np.shape, labels) if not isinstance(labels, (list, tuple)) else np.shape(labels)
        raise ExportError(
            f"`labels` must hold a class index or a one-hot row for each of the {len(outputs[0])} samples, for "
            f"outputs of shape "
            f"{shapes}. Received: shape {received}"
        )
    return None


def _matched(labels: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, float | None] | None:
    """Returns the answers for one output and the threshold, or `None` where the labels are not of this output."""
    if labels.dtype.kind not in "biuf" or values.ndim < 2:
        return None
    classes = values.shape[-1]
    if classes > 1 and labels.shape == values.shape:
        hot = bool(np.all((labels >= 0) & (labels <= 1)))
        return (np.argmax(labels, -1), None) if hot else None
    answers = labels[..., 0] if labels.shape == (*values.shape[:-1], 1) else labels
    whole = answers.shape == values.shape[:-1] and bool(np.all(answers == np.floor(answers)))
    if not whole or answers.min() < 0 or answers.max() >= max(classes, 2):
        return None
    inside = values.min() >= 0 and values.max() <= 1
    return answers.astype(int), None if classes > 1 else (0.5 if inside else 0.0)
