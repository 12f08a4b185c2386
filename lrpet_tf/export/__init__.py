"""Export to LiteRT: bytes first, then a checked write."""

from lrpet_tf.export.audit import Audit, Finding
from lrpet_tf.export.parity import OutputParity
from lrpet_tf.export.provenance import FileInfo
from lrpet_tf.export.quantize import MODES
from lrpet_tf.export.report import ExportReport, FileFigures
from lrpet_tf.export.stages import Stage
from lrpet_tf.export.tflite import check_path, export_tflite

__all__ = [
    "MODES",
    "Audit",
    "ExportReport",
    "FileFigures",
    "FileInfo",
    "Finding",
    "OutputParity",
    "Stage",
    "check_path",
    "export_tflite",
]
