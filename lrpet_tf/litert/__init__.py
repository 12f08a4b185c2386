"""LiteRT: from a Keras model to the bytes of a `.tflite` file, quantizing, reading and running such files."""

from lrpet_tf.litert.calibration import Extremes, activation_ranges
from lrpet_tf.litert.conversion import QUANTIZATIONS, Converted, convert, pack_inputs
from lrpet_tf.litert.flatbuffer import is_builtin, is_constant, operator_name, pack, text, unpack
from lrpet_tf.litert.memory import arena_bytes
from lrpet_tf.litert.metadata import FileMetadata, TensorInfo, metadata_of, read_metadata, with_metadata
from lrpet_tf.litert.naming import layers_of
from lrpet_tf.litert.quantizer import Scheme, output_names, quantize
from lrpet_tf.litert.runtime import interleaved_latency, load, run

__all__ = [
    "QUANTIZATIONS",
    "Converted",
    "Extremes",
    "FileMetadata",
    "Scheme",
    "TensorInfo",
    "activation_ranges",
    "arena_bytes",
    "convert",
    "interleaved_latency",
    "is_builtin",
    "is_constant",
    "layers_of",
    "load",
    "metadata_of",
    "operator_name",
    "output_names",
    "pack",
    "pack_inputs",
    "quantize",
    "read_metadata",
    "run",
    "text",
    "unpack",
    "with_metadata",
]
