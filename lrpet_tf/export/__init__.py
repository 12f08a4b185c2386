"""Export to LiteRT: bytes first, then a checked write."""

from lrpet_tf.export.parity import OutputParity
from lrpet_tf.export.report import ExportReport, FileFigures
from lrpet_tf.export.tflite import export_tflite

__all__ = ["ExportReport", "FileFigures", "OutputParity", "export_tflite"]
