"""Figures of the report as text."""

import math
from collections.abc import Callable, Sequence

from lrpet_tf.export.parity import OutputParity
from lrpet_tf.export.stages import Stage, worst


def ratio_of(after, before) -> float | None:
    """Returns the ratio of two figures, or `None` where one is unknown or there is nothing to divide by."""
    return None if after is None or not before else after / before


def stage_row(stage: Stage) -> tuple[str, ...]:
    """Returns the figures of a stage against the one before, in the columns of `STAGE_COLUMNS`."""
    figures = worst(stage.since_previous)
    return (
        stage.name,
        _shown(figures["max_difference"], "{:.3g}"),
        _shown(figures["sqnr_db"], "{:.1f} dB"),
        _shown(figures["cosine"], "{:.6f}"),
        _shown(figures["top1_agreement"], "{:.1%}"),
        _shown(stage.accuracy, "{:.2%}"),
    )


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else "equal" if value == math.inf else form.format(value)


def figure_row(name: str, show: Callable[[float], str], after, before) -> tuple[str, str, str, str]:
    """Returns a figure of the reference and of the file, and their ratio; `show` makes text of a figure."""
    ratio = ratio_of(after, before)
    return (
        name,
        "-" if before is None else show(before),
        "-" if after is None else show(after),
        "-" if ratio is None else f"{ratio:.2f}",
    )


def milliseconds(value: float) -> str:
    """Returns a time with its unit."""
    return f"{value:.3f} ms"


def parity_line(what: str, parity: Sequence[OutputParity]) -> str:
    """Returns the agreement of a file with `what`, the worst over the outputs, in a line."""
    figures = worst(parity)
    agreement = figures["top1_agreement"]
    top1 = "" if agreement is None else f", top-1 agreement {100 * agreement:.1f} %"
    return (
        f"{what}: largest difference {figures['max_difference']:.2g} ({figures['relative_difference']:.1g} of the "
        f"output scale), "
        f"signal to noise {_shown(figures['sqnr_db'], '{:.1f} dB')}, cosine {figures['cosine']:.7f}{top1}"
    )
