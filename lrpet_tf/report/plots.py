"""Plots, drawn with matplotlib."""

import os
from collections.abc import Mapping

import numpy as np

from lrpet_tf.errors import require


def save_spectra(
    path: str | os.PathLike,
    spectra: Mapping[str, Mapping[str, np.ndarray]],
    ranks: Mapping[str, int],
    *,
    title: str = "Singular values",
) -> None:
    """Draws the singular values of several kernels, one panel a kernel, one line a stage.

    Args:
        path: Picture to write; the suffix gives the format.
        spectra: Singular values, the largest first, by the path of the layer and then by the name of the stage.
        ranks: The rank at which each layer is cut, by path.
        title: Stands above the panels.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    require("matplotlib", "'lrpet-tf[plot]'")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(4 if len(spectra) > 6 else 3, len(spectra))
    rows = -(-len(spectra) // columns)
    figure = Figure(figsize=(3.3 * columns, 2.5 * rows + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat[len(spectra) :]:
        axis.set_axis_off()
    for axis, (layer, stages) in zip(axes.flat, spectra.items(), strict=False):
        _draw(axis, stages, ranks.get(layer))
        axis.set_title(layer, fontsize=9)
    axes.flat[0].legend(fontsize=7, frameon=False)
    figure.supxlabel("index of the singular value", fontsize=9)
    figure.supylabel("share of the largest", fontsize=9)
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=130)


def _draw(axis, stages: Mapping[str, np.ndarray], rank: int | None) -> None:
    largest = max(float(values[0]) for values in stages.values())
    for stage, values in stages.items():
        index = np.arange(1, len(values) + 1)
        axis.plot(index, np.asarray(values) / largest, marker="o", markersize=2.5, linewidth=1.4, label=stage)
    if rank is not None:
        axis.axvline(rank + 0.5, color="0.5", linestyle="--", linewidth=1.0, label="cut")
    axis.set_ylim(-0.03, 1.05)
    axis.grid(alpha=0.3, linewidth=0.5)
    axis.tick_params(labelsize=7)
