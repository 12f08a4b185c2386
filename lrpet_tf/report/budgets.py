"""Pictures of budgets: what is kept at what cost."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lrpet_tf.report.plots import check_picture, new_figure


class Kept(NamedTuple):
    """What the plan of one budget keeps.

    Attributes:
        cost: What the model costs then, as a share of the dense model.
        mean: Mean share of energy kept over the layers.
        least: The share that is kept of the layer that loses most.
    """

    cost: float
    mean: float
    least: float


def draw_budgets(curves: Mapping[str, Sequence[Kept]], least: Kept | None, *, cost: str, title: str):
    """Draws the energy kept over the cost reached.

    Args:
        curves: What was reached, by the name of the way.
        least: The least cost that can be reached, or `None` where every budget was.
        cost: What the cost is, for the label of the axis.
        title: Stands above the plot.

    Returns:
        The matplotlib figure.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    check_picture()
    figure = new_figure(5.0)
    axis = figure.subplots()
    for index, (name, points) in enumerate(curves.items()):
        points = sorted(points)
        costs = [point.cost for point in points]
        style = {"color": f"C{index}", "markersize": 4, "linewidth": 1.6, "zorder": 4 - index}
        axis.plot(costs, [point.mean for point in points], marker="o", label=f"{name}: mean of the layers", **style)
        axis.plot(costs, [point.least for point in points], marker="v", linestyle="--", label=f"{name}: worst layer", **style)
    if least is not None:
        axis.axvspan(0, least.cost, color="0.92", linewidth=0)
        axis.axvline(least.cost, color="0.4", linestyle=":", linewidth=1.4, label=f"least reachable: {least.cost:.3f}")
    axis.set_xlim(0, max([1.02, *(1.02 * point.cost for points in curves.values() for point in points)]))
    axis.set_ylim(-0.02, 1.02)
    axis.set_xlabel(f"{cost}, as a share of the dense model's", fontsize=9)
    axis.set_ylabel("energy kept", fontsize=9)
    axis.grid(alpha=0.3, linewidth=0.5)
    axis.tick_params(labelsize=8)
    figure.legend(fontsize=8, loc="outside lower center", ncols=2, frameon=False)
    axis.set_title(title, fontsize=11)
    return figure
