"""LiteRT: from a Keras model to the bytes of a `.tflite` file, quantizing, reading and running such files."""

from lrpet_tf.litert.calibration import Extremes, activation_ranges
from lrpet_tf.litert.conversion import QUANTIZATIONS, Converted, convert, pack_inputs
from lrpet_tf.litert.flatbuffer import is_builtin, is_constant, operator_name, pack, text, unpack
from lrpet_tf.litert.memory import arena_bytes
from lrpet_tf.litert.naming import layers_of
from lrpet_tf.litert.quantizer import Scheme, output_names, quantize
from lrpet_tf.litert.runtime import interleaved_latency, load, run

__all__ = [
    "QUANTIZATIONS",
    "Converted",
    "Extremes",
    "Scheme",
    "activation_ranges",
    "arena_bytes",
    "convert",
    "interleaved_latency",
    "is_builtin",
    "is_constant",
    "layers_of",
    "load",
    "operator_name",
    "output_names",
    "pack",
    "pack_inputs",
    "quantize",
    "run",
    "text",
    "unpack",
]
