"""LiteRT: from a Keras model to the bytes of a `.tflite` file, and running such files."""

from lrpet_tf.litert.conversion import QUANTIZATIONS, Converted, convert, pack_inputs
from lrpet_tf.litert.runtime import interleaved_latency, run

__all__ = ["QUANTIZATIONS", "Converted", "convert", "interleaved_latency", "pack_inputs", "run"]
