"""What all plots share: matplotlib, loaded where it is used, and pictures that are written whole or not at all."""

import io
import os
import pathlib

from lrpet_tf.errors import LowRankError, require
from lrpet_tf.files import write_atomically

# Pictures are as wide as a README shows them, at twice its resolution.
WIDTH_INCHES, DOTS_PER_INCH = 9.0, 200


def check_picture(path: str | os.PathLike | None = None) -> None:
    """Checks, before any work, that a picture can be drawn, and written where it is to go.

    Args:
        path: Picture to write; `None` for one that is not written.

    Raises:
        MissingExtraError: matplotlib is not installed.
        LowRankError: The suffix names no format, or the folder does not exist.
    """
    require("matplotlib", "'lrpet-tf[plot]'")
    if path is None:
        return
    from matplotlib.backend_bases import FigureCanvasBase

    path = pathlib.Path(path)
    known = FigureCanvasBase.get_supported_filetypes()
    if path.suffix.lower().removeprefix(".") not in known:
        raise LowRankError(
            f"Expected a picture of a known format: {', '.join(f'.{each}' for each in known)}. Received: path='{path}'"
        )
    if not path.parent.is_dir():
        raise LowRankError(f"Expected a picture in a folder that exists; make '{path.parent}' first. Received: path='{path}'")


def new_figure(height: float):
    """Returns an empty matplotlib figure of the usual width, apart from pyplot: it needs neither a screen nor closing.

    Args:
        height: In inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_INCHES, height), dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def picture(figure, suffix: str = ".png") -> bytes:
    """Returns a figure as the content of a file.

    Args:
        figure: A matplotlib figure.
        suffix: Of the format.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format=suffix.lower().removeprefix("."), dpi=DOTS_PER_INCH)
    return buffer.getvalue()


def write_picture(figure, path: str | os.PathLike) -> None:
    """Writes a figure, whole or not at all; the suffix gives the format."""
    write_atomically(path, picture(figure, pathlib.Path(path).suffix))
