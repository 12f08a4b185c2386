"""The picture of a search, drawn with matplotlib."""

import os

from lrpet_tf.report import check_picture, new_figure, write_picture

_BLUE, _RED, _GREY = "#1f6fb4", "#c8402f", "0.6"


def save_trade_off(path: str | os.PathLike, result) -> None:
    """Draws score against cost: all trials, the Pareto front, the best trial, the dense model and the budget.

    Args:
        path: Picture to write, whole or not at all; the suffix gives the format.
        result: A `SearchResult`.

    Raises:
        MissingExtraError: matplotlib is not installed.
        LowRankError: The suffix names no format, or the folder does not exist.
    """
    check_picture(path)
    figure = new_figure(5.5)
    axis = figure.subplots()
    _draw_trials(axis, result)
    _draw_marks(axis, result)
    axis.set_xlabel(f"{result.cost.name} as a share of the dense model's {result.cost.show(result.dense_cost)}")
    axis.set_ylabel("score on held-out training data")
    axis.set_title(f"Rank search: score against {result.cost.name}", fontsize=12)
    axis.grid(alpha=0.3, linewidth=0.5)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=9, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    write_picture(figure, path)


def _draw_trials(axis, result) -> None:
    def points(trials) -> tuple[list[float], list[float]]:
        return [each.cost / result.dense_cost for each in trials], [each.score for each in trials]

    pruned = result.of("pruned")
    if pruned:
        axis.scatter(*points(pruned), marker="x", s=22, linewidth=1.0, color=_GREY, label="stopped early\n(score so far)")
    axis.scatter(*points(result.of("scored")), s=26, color=_BLUE, alpha=0.45, linewidth=0, label="trial")
    front = points(result.pareto)
    axis.step(*front, where="post", color=_BLUE, linewidth=1.6, marker="o", markersize=5.5, label="Pareto front", zorder=3)


def _draw_marks(axis, result) -> None:
    best = result.best
    axis.scatter(
        [best.cost / result.dense_cost],
        [best.score],
        marker="*",
        s=230,
        color=_RED,
        edgecolor="white",
        label="best trial",
        zorder=5,
    )
    axis.scatter([1.0], [result.dense_score], marker="D", s=44, color="black", label="dense model", zorder=4)
    if result.budget is not None:
        axis.axvline(result.budget, color=_RED, linestyle="--", linewidth=1.2, label=f"budget {result.budget:g}")
    axis.set_xlim(left=0.0, right=1.05)
