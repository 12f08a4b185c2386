"""Tables and plots: plain values in, text and pictures out."""

from lrpet_tf.report.plots import save_spectra
from lrpet_tf.report.tables import kilobytes, megas, render

__all__ = ["kilobytes", "megas", "render", "save_spectra"]
