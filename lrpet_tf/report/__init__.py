"""Tables, plots and progress bars: plain values in, text and pictures out."""

from lrpet_tf.report.budgets import Kept, draw_budgets
from lrpet_tf.report.plots import check_picture, new_figure, picture, write_picture
from lrpet_tf.report.progress import Progress, track
from lrpet_tf.report.spectra import draw_spectra, energy_kept, save_spectra
from lrpet_tf.report.tables import kilobytes, megas, render

__all__ = [
    "Kept",
    "Progress",
    "check_picture",
    "draw_budgets",
    "draw_spectra",
    "energy_kept",
    "kilobytes",
    "megas",
    "new_figure",
    "picture",
    "render",
    "save_spectra",
    "track",
    "write_picture",
]
