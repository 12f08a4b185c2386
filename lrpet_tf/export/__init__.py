"""Export to LiteRT: bytes first, then a checked write."""

from lrpet_tf.export.parity import OutputParity
from lrpet_tf.export.report import ExportReport, FileFigures
from lrpet_tf.export.tflite import check_path, export_tflite

__all__ = ["ExportReport", "FileFigures", "OutputParity", "check_path", "export_tflite"]
