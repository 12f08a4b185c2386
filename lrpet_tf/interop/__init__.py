"""Bridges to other packages: tf_keras (Keras 2), and tensorflow-model-optimization for quantization-aware training."""

from lrpet_tf.interop.carrying import to_tf_keras
from lrpet_tf.interop.exporting import KernelFigures, QuantizedFile, export_quantized
from lrpet_tf.interop.factors import cluster_factors, factor_paths, prune_factors, pruning_step, strip
from lrpet_tf.interop.quantizing import quantize_aware
from lrpet_tf.interop.returning import copy_weights, from_tf_keras

__all__ = [
    "KernelFigures",
    "QuantizedFile",
    "cluster_factors",
    "copy_weights",
    "export_quantized",
    "factor_paths",
    "from_tf_keras",
    "prune_factors",
    "pruning_step",
    "quantize_aware",
    "strip",
    "to_tf_keras",
]
