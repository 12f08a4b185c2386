"""How far a file may be from the model: beyond it there is an error, and no file."""

import dataclasses
import itertools
from collections.abc import Sequence

from lrpet_tf.errors import ExportError
from lrpet_tf.export.parity import OutputParity
from lrpet_tf.export.stages import Stage, worst

# In float32 a converted model that is farther from its source, as a share of the output scale, was converted wrongly.
_CONVERTED = 1e-2


@dataclasses.dataclass(frozen=True)
class Limits:
    """What is asked of a file; `None` for what is not.

    Attributes:
        tolerance: Largest difference to the Keras model, as a share of the largest output.
        min_sqnr_db: Least ratio of signal to noise against the Keras model, in dB.
        min_top1_agreement: Least share of decisions that are the Keras model's.
        max_accuracy_drop: Largest loss of accuracy since the first stage, as a share: 0.003 is 0.3 points.
    """

    tolerance: float | None = None
    min_sqnr_db: float | None = None
    min_top1_agreement: float | None = None
    max_accuracy_drop: float | None = None

    def check(self, model_name: str, parity: Sequence[OutputParity], stages: Sequence[Stage]) -> None:
        """Checks the file.

        Args:
            model_name: Name of the model, for the message.
            parity: Agreement of the file with the Keras model that was exported.
            stages: All stages; the last is the file.

        Raises:
            ExportError: The file is beyond a limit; the message says which, and what each stage lost.
        """
        problems = [problem for problem in (*map(self._difference, parity), *self._rest(parity, stages)) if problem]
        if problems:
            raise ExportError(
                f"The converted model '{model_name}' does not agree with the Keras model: {'; '.join(problems)}. "
                f"{_story(stages)} No file was written. Pass a larger tolerance=, or other limits, if that is good enough."
            )

    def _difference(self, output: OutputParity) -> str | None:
        allowed = float("inf") if self.tolerance is None else self.tolerance
        if output.relative_difference <= allowed:  # NaN is no agreement
            return None
        return (
            f"output '{output.name}' differs by {output.max_difference:.3g}, {output.relative_difference:.3g} of its "
            f"scale, and "
            f"{allowed:.3g} is allowed"
        )

    def _rest(self, parity: Sequence[OutputParity], stages: Sequence[Stage]) -> list[str]:
        problems = []
        for output in parity:
            if self.min_sqnr_db is not None and not output.sqnr_db >= self.min_sqnr_db:
                ratio = f"{output.sqnr_db:.1f} dB, and {self.min_sqnr_db:.1f} dB is asked for"
                problems.append(f"the signal-to-noise ratio of output '{output.name}' is {ratio}")
            agreement = output.top1_agreement
            if self.min_top1_agreement is not None and agreement is not None and not agreement >= self.min_top1_agreement:
                share = f"{agreement:.4f}, and {self.min_top1_agreement:.4f} is asked for"
                problems.append(f"the top-1 agreement of output '{output.name}' is {share}")
        if self.max_accuracy_drop is not None:
            problems += self._accuracy(stages)
        return problems

    def _accuracy(self, stages: Sequence[Stage]) -> list[str]:
        if stages[0].accuracy is None:
            return ["max_accuracy_drop= takes labels, in the samples or as labels=, and there are none"]
        drop = stages[0].accuracy - stages[-1].accuracy
        if drop <= self.max_accuracy_drop + 1e-12:
            return []
        return [f"the accuracy falls by {drop:.4f}, and {self.max_accuracy_drop:.4f} is allowed"]


def check_conversion(model_name: str, parity: Sequence[OutputParity], stages: Sequence[Stage]) -> None:
    """Checks a file in float32 before anything is made of it: what is wrong there is not the quantizer's fault.

    Raises:
        ExportError: It is far from the Keras model.
    """
    Limits(tolerance=_CONVERTED).check(model_name, parity, stages)


def _story(stages: Sequence[Stage]) -> str:
    """Returns what each stage lost, in a line, and where most was lost."""
    steps = []
    for before, stage in itertools.pairwise(stages):
        figures = worst(stage.since_previous)
        parts = [f"{figures['sqnr_db']:.1f} dB"]
        if figures["top1_agreement"] is not None:
            parts.append(f"top-1 agreement {figures['top1_agreement']:.3f}")
        if stage.accuracy is not None:
            parts.append(f"accuracy {before.accuracy:.4f} to {stage.accuracy:.4f}")
        steps.append((figures["sqnr_db"], f"{before.name} to {stage.name}: {', '.join(parts)}", stage.name))
    if not steps:
        return ""
    most = min(steps, key=lambda step: (step[0] == step[0], step[0]))[2]  # NaN first
    return f"Stage by stage: {'; '.join(step[1] for step in steps)}. Most is lost by the {most}."
