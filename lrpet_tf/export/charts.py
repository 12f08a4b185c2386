"""The plots of the report."""

import math

from lrpet_tf.errors import require
from lrpet_tf.export.stages import worst
from lrpet_tf.report import new_figure, picture

_BEFORE, _AFTER = "#9aa7b4", "#2563eb"
_MOST_DB = 140.0  # float32 holds no more


def charts(report) -> dict[str, bytes]:
    """Returns pictures by what they show, as PNG.

    Args:
        report: An `ExportReport`.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    require("matplotlib", "'lrpet-tf[plot]'")
    found = {}
    if len(report.stages) > 1:
        found["Agreement and accuracy stage by stage"] = picture(_stages(report))
    found["Size, latency and memory, and the outputs"] = picture(_costs(report))
    return found


def _stages(report):
    figure = new_figure(0.9 + 0.45 * len(report.stages))
    left, right = figure.subplots(1, 2, sharey=True)
    names = [stage.name for stage in report.stages]
    places = range(len(names))
    for place, stage in zip(places, report.stages, strict=True):
        ratio = worst(stage.since_start)["sqnr_db"]
        if ratio is None:
            continue
        width = max(min(ratio, _MOST_DB), 0.0)
        left.barh(place, width, color=_AFTER)
        left.text(width, place, " equal" if ratio == math.inf else f" {ratio:.1f}", va="center", fontsize=8)
    left.set(
        yticks=list(places), yticklabels=names, title="signal to noise since the first stage, dB", xlim=(0, _MOST_DB * 1.12)
    )
    left.invert_yaxis()
    labelled = report.stages[0].accuracy is not None
    shares = [stage.accuracy if labelled else worst(stage.since_start)["top1_agreement"] for stage in report.stages]
    for place, share in zip(places, shares, strict=True):
        if share is not None:
            right.barh(place, share, color=_AFTER)
            right.text(share, place, f" {share:.2%}", va="center", fontsize=8)
    right.set(title="accuracy" if labelled else "top-1 agreement with the first stage", xlim=(0, 1.2))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _costs(report):
    figure = new_figure(3.2)
    left, right = figure.subplots(1, 2)
    rows = [("file size", report.size_ratio), ("latency", report.latency_ratio), ("memory for values", report.arena_ratio)]
    rows = [(name, ratio) for name, ratio in rows if ratio is not None]
    if rows:
        for place, (_, ratio) in enumerate(rows):
            left.barh(place, ratio, color=_AFTER)
            left.text(ratio, place, f" {ratio:.2f}", va="center", fontsize=8)
        left.axvline(1, color=_BEFORE, linewidth=1)
        left.set(yticks=range(len(rows)), yticklabels=[name for name, _ in rows], xlim=(0, 1.2 * max(1, *(r for _, r in rows))))
        left.invert_yaxis()
        left.set_title("share of the reference, quantized in the same way")
    else:
        left.set_axis_off()
        left.text(0, 0.5, "no reference= was given to compare with", color=_BEFORE)
    if report.pairs:
        expected, received = zip(*report.pairs, strict=True)
        ends = (min(*expected, *received), max(*expected, *received))
        right.plot(ends, ends, color=_BEFORE, linewidth=1)
        right.scatter(expected, received, s=5, color=_AFTER, alpha=0.6, linewidths=0)
        right.set(title=f"values of '{report.parity[0].name}'", xlabel="Keras model", ylabel="file")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure
