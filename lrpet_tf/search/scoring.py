"""Scoring a model on held-out data, part after part, so that a bad trial can be stopped on the way."""

import math
import numbers
from collections.abc import Callable, Iterable

import keras

from lrpet_tf.errors import LowRankError
from lrpet_tf.search.data import PARTS

# Is told the score so far, and returns whether to stop.
Report = Callable[[float], bool]


def _never(score: float) -> bool:
    return False


def _checked(score) -> float:
    value = float(score) if isinstance(score, numbers.Real) or getattr(score, "ndim", None) == 0 else math.nan
    if not math.isfinite(value):
        raise LowRankError(f"A score must be a finite number, the greater the better. Received: score={score!r}")
    return value


class FunctionScorer:
    """Scores with a function of the user's.

    Args:
        function: Takes the model, and returns a score or yields the score so far after each part of its data.
    """

    def __init__(self, function: Callable[[keras.Model], float | Iterable[float]]):
        self._function = function

    def __call__(self, model: keras.Model, report: Report = _never) -> float:
        """Returns the score, or the last one before it was stopped."""
        found = self._function(model)
        if not hasattr(found, "__next__"):
            return _checked(found)
        score = None
        for part in found:
            score = _checked(part)
            if report(score):
                break
        return _checked(score)


class MetricScorer:
    """Scores with `model.evaluate` and a compiled metric.

    Args:
        data: Held-out data.
        metric: Name of the metric, or `None` for the accuracy.
    """

    def __init__(self, data, metric: str | None = None):
        self._data, self._metric = data, metric
        self._batches: int | None = None  # known once the data were read for the first time

    def __call__(self, model: keras.Model, report: Report = _never) -> float:
        """Returns the score, or the last one before it was stopped."""
        running = _Running(self._pick, report, self._batches)
        logs = model.evaluate(self._data, verbose=0, return_dict=True, callbacks=[running])
        self._batches = self._batches or running.seen
        return _checked(self._pick(logs))

    def _pick(self, logs: dict) -> float:
        if self._metric is None:
            self._metric = _accuracy_name(logs)
        if self._metric not in logs:
            raise LowRankError(
                f"`score` must name a metric of the compiled model: {_listed(logs)}. Received: score={self._metric!r}"
            )
        return logs[self._metric]


class _Running(keras.callbacks.Callback):
    """Reports the metric so far after each part of the data but the last."""

    def __init__(self, pick: Callable[[dict], float], report: Report, batches: int | None):
        super().__init__()
        self._pick, self._report, self._batches = pick, report, batches
        self._reported = self.seen = 0

    def on_test_batch_end(self, batch, logs=None) -> None:
        """Reports when a part is done."""
        self.seen = batch + 1
        if self._batches is None or self.seen >= self._batches:
            return
        part = self.seen * PARTS // self._batches
        if part > self._reported:
            self._reported = part
            if self._report(_checked(self._pick(logs))):
                self.model.stop_evaluating = True


def _listed(logs: dict) -> str:
    return ", ".join(f"'{name}'" for name in logs)


def _accuracy_name(logs: dict) -> str:
    """Returns the name of the one metric that is an accuracy."""
    for name in ("accuracy", "acc"):
        if name in logs:
            return name
    found = [name for name in logs if name.endswith(("accuracy", "acc"))]
    if len(found) == 1:
        return found[0]
    raise LowRankError(
        f"The score is the accuracy, and the model is compiled with {'several' if found else 'none'}: {_listed(logs)}. Give "
        "score='name of a metric', of which more is better, or score=function of the model; or compile the model with "
        "metrics=['accuracy']."
    )


def get_scorer(score, model: keras.Model, data) -> FunctionScorer | MetricScorer:
    """Returns what scores a model.

    Args:
        score: `None`, the name of a compiled metric, or a function.
        model: The model.
        data: Held-out data.

    Returns:
        A scorer.

    Raises:
        LowRankError: It is none of these, or a metric of a model that is not compiled.
    """
    if callable(score):
        return FunctionScorer(score)
    if score is not None and not isinstance(score, str):
        raise LowRankError(
            "`score` must be a function of the model, the name of a compiled metric, or None for the accuracy. "
            f"Received: score={score!r}"
        )
    if not model.compiled:
        raise LowRankError(
            "There is nothing to score with: compile the model with metrics=['accuracy'], or give score=function of the model. "
            f"Received: a model that is not compiled, score={score!r}"
        )
    return MetricScorer(data, score)
