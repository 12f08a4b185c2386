"""What a plan cuts and what a budget costs, in pictures, before any training."""

from lrpet_tf.analysis.plots import analyze, plot_budget, plot_spectra

__all__ = ["analyze", "plot_budget", "plot_spectra"]
