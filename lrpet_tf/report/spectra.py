"""Pictures of singular values: a panel a kernel, or a strip a kernel where there are many."""

import os
from collections.abc import Mapping

import numpy as np

from lrpet_tf.report.plots import check_picture, new_figure, write_picture

# Above this many kernels each gets a strip instead of a panel.
_PANELS = 24


def energy_kept(values: np.ndarray, rank: int) -> float:
    """Returns the share of the energy that a rank keeps, `Σ_{i≤rank} σ_i² / Σ σ_i²`; 1 for a kernel of zeros.

    Args:
        values: Singular values, the largest first.
        rank: From 0 to their number.
    """
    squares = np.square(np.asarray(values, np.float64))
    total = squares.sum()
    return float(squares[:rank].sum() / total) if total else 1.0


def save_spectra(
    path: str | os.PathLike,
    spectra: Mapping[str, Mapping[str, np.ndarray]],
    ranks: Mapping[str, int],
    *,
    title: str = "Singular values",
) -> None:
    """Draws the singular values of several kernels and writes the picture, whole or not at all.

    Args:
        path: Picture to write; the suffix gives the format.
        spectra: See `draw_spectra`.
        ranks: The rank at which each layer is cut, by path.
        title: Stands above the panels.

    Raises:
        MissingExtraError: matplotlib is not installed.
        LowRankError: The suffix names no format, or the folder does not exist.
    """
    check_picture(path)
    write_picture(draw_spectra(spectra, ranks, title=title), path)


def draw_spectra(spectra: Mapping[str, Mapping[str, np.ndarray]], ranks: Mapping[str, int], *, title: str = "Singular values"):
    """Draws the singular values of several kernels, where they are cut, and the energy that is kept there.

    Args:
        spectra: Singular values, the largest first, by the path of the layer and then by the name of the stage. Where there are
            more than two dozen layers, the last stage alone is drawn.
        ranks: The rank at which each layer is cut, by path; a layer that is not in it is drawn without a cut.
        title: Stands above the panels.

    Returns:
        The matplotlib figure.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    check_picture()
    return _strips(spectra, ranks, title) if len(spectra) > _PANELS else _panels(spectra, ranks, title)


def _panels(spectra, ranks, title: str):
    columns = min(4 if len(spectra) > 6 else 3, len(spectra))
    rows = -(-len(spectra) // columns)
    figure = new_figure((1.7 if columns == 4 else 2.2 if columns > 1 else 3.4) * rows + 1.0)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat[len(spectra) :]:
        axis.set_axis_off()
    width = {1: 100, 2: 48, 3: 32, 4: 24}[columns]
    for axis, (layer, stages) in zip(axes.flat, spectra.items(), strict=False):
        _draw(axis, stages, ranks.get(layer))
        size = 8 if len(stages) == 1 else 7
        axis.set_title(f"{shorten(layer, width)}\n{_figures(stages, ranks.get(layer))}".strip(), fontsize=size)
    if any(len(stages) > 1 for stages in spectra.values()):
        axes.flat[0].legend(fontsize=7, loc="upper right")
    figure.supxlabel("index of the singular value; what is grey is cut off", fontsize=9)
    figure.supylabel("share of the largest", fontsize=9)
    figure.suptitle(title, fontsize=11)
    return figure


def shorten(path: str, width: int) -> str:
    """Returns the end of a path, where it tells layers apart, in at most `width` characters."""
    return path if len(path) <= width else f"…{path[1 - width :]}"


def _figures(stages: Mapping[str, np.ndarray], rank: int | None) -> str:
    if rank is None:
        return ""
    kept = " → ".join(f"{energy_kept(values, rank):.3f}" for values in stages.values())
    full_rank = len(next(iter(stages.values())))
    return f"rank {rank} of {full_rank}, keeps {kept}"


def _scaled(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    return values / values[0] if values[0] else values


def _draw(axis, stages: Mapping[str, np.ndarray], rank: int | None) -> None:
    largest = max(float(values[0]) for values in stages.values()) or 1.0
    full_rank = max(map(len, stages.values()))
    if rank is not None:
        axis.axvspan(rank + 0.5, full_rank + 0.5, color="0.92", linewidth=0)
        axis.axvline(rank + 0.5, color="0.4", linestyle="--", linewidth=1.0)
    size = 2.5 if full_rank <= 32 else 0
    for stage, values in stages.items():
        index = np.arange(1, len(values) + 1)
        axis.plot(index, np.asarray(values) / largest, marker="o", markersize=size, linewidth=1.4, label=stage)
    axis.set_xlim(0.5, full_rank + 0.5)
    axis.set_ylim(-0.03, 1.05)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(alpha=0.3, linewidth=0.5)
    axis.tick_params(labelsize=7)


def _strips(spectra, ranks, title: str):
    """Draws a row a kernel: its spectrum in colours, the cut, and in figures the rank and the energy kept."""
    last = {layer: list(stages.values())[-1] for layer, stages in spectra.items()}
    figure = new_figure(0.17 * len(last) + 1.6)
    axis = figure.subplots()
    for row, (layer, values) in enumerate(last.items()):
        shown = _scaled(values)[None]
        image = axis.imshow(
            shown, extent=(0, 1, row + 0.42, row - 0.42), aspect="auto", vmin=0, vmax=1, cmap="viridis", interpolation="nearest"
        )
        rank = ranks.get(layer)
        if rank is not None:
            cut = rank / len(values)
            axis.fill_betweenx([row - 0.42, row + 0.42], cut, 1, color="white", alpha=0.6, linewidth=0)
            axis.plot([cut, cut], [row - 0.5, row + 0.5], color="crimson", linewidth=1.8, solid_capstyle="butt")
            axis.text(1.01, row, f"{rank} of {len(values)}", fontsize=7.5, va="center")
            axis.text(1.16, row, f"{energy_kept(values, rank):.3f}", fontsize=7.5, va="center")
    axis.text(1.01, -1, "rank", fontsize=8, va="center", weight="bold")
    axis.text(1.16, -1, "energy kept", fontsize=8, va="center", weight="bold")
    axis.set(xlim=(0, 1), ylim=(len(last) - 0.5, -0.5), xlabel="index of the singular value, as a share of the full rank")
    axis.set_yticks(range(len(last)), [shorten(layer, 34) for layer in last], fontsize=7.5)
    axis.tick_params(axis="x", labelsize=8)
    axis.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axis, location="bottom", fraction=0.02, pad=0.01, aspect=50)
    bar.set_label("share of the largest; the red line is the cut, what is pale is cut off", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    figure.suptitle(title, fontsize=11)
    return figure
