"""Quantization-aware training of Keras 3 models, by tf_keras and tensorflow-model-optimization (tfmot)."""

import itertools
import re
from collections.abc import Sequence

import keras

from lrpet_tf.data import input_batches
from lrpet_tf.errors import LowRankError, UnsupportedLayersError
from lrpet_tf.graph import as_graph, in_float32
from lrpet_tf.interop.agreement import check_agreement
from lrpet_tf.interop.calibrating import calibrate, set_weight_ranges
from lrpet_tf.interop.feeding import feeds, fitted, packed
from lrpet_tf.interop.naming import flat_names
from lrpet_tf.interop.packages import tf_keras, tfmot
from lrpet_tf.interop.preserving import preserved_layers
from lrpet_tf.interop.scheme import Registry, Scheme
from lrpet_tf.interop.splitting import quantizable, without_rounding
from lrpet_tf.interop.support import why_unsupported
from lrpet_tf.ranks.patterns import as_patterns, check_patterns, matches


def quantize_aware(
    model: keras.Model,
    *,
    representative_data=None,
    calibration_batches: int = 20,
    exclude: str | Sequence[str] | None = None,
    preserve: str | None = None,
):
    """Returns a model of tf_keras that computes as its int8 file will, and learns to do so well.

    The model is carried over to tf_keras, and tfmot puts the rounding of 8 bits behind weights and activations: weights of
    convolutions by channel, batch norms as they will be folded, a ReLU in one with the layer before it. What comes out is
    compiled and trained as any tf_keras model (losses, optimizers and callbacks by name or from tf_keras), and exported with
    `export_quantized`; `from_tf_keras` brings the weights back.

    Args:
        model: A built Functional or Sequential model of stock layers, as a rule from `factorize`; computed in float32.
        representative_data: Inputs as `fit` takes them, targets or not, some hundred samples. The ranges of activations begin
            as they are on these. Without them they begin at [-6, 6], and the input's empty: the model answers at random
            until it was trained for some thousand steps.
        calibration_batches: How many batches of these to use at most; arrays are cut into batches of 128.
        exclude: Patterns of the paths of layers that stay in float, weights and outputs. In the file they stand between a
            DEQUANTIZE and a QUANTIZE.
        preserve: `"sparsity"`: weights that are zero stay zero in all layers where at least a tenth is; `"clusters"`: equal
            weights stay equal, in each output channel of convolutions, where a kernel has at most 256 values; `"both"`; or
            `None`. For models from `prune_factors` and `cluster_factors`, once `from_tf_keras` has brought them back.

    Returns:
        A `tf_keras.Model`, not compiled, with inputs and outputs in the structure of the model's; the names of its layers
        begin with `quant_`.

    Raises:
        UnsupportedLayersError: There are layers that cannot be carried over, or that tfmot cannot quantize; all are named.
        UnsupportedModelError: The model is not built.
        PatternError: A pattern of `exclude` matches no layer.
        LowRankError: The data do not fit the model, nothing of what is to be preserved is there, everything is excluded, or
            Keras runs on another backend than TensorFlow.
        MissingExtraError: tf_keras or tensorflow-model-optimization is not installed.
        ValueError: `preserve` is unknown.
    """
    if preserve not in (None, "sparsity", "clusters", "both"):
        raise ValueError(f"`preserve` must be None, 'sparsity', 'clusters' or 'both'. Received: preserve={preserve!r}")
    tfmot()
    model = in_float32(as_graph(model))
    patterns = as_patterns(exclude)
    paths = flat_names(model)
    check_patterns("exclude", patterns, dict.fromkeys(paths), usable=False)
    floating = {path for path in paths if any(matches(pattern, path) for pattern in patterns)}

    flat, kept, standing = quantizable(model, floating)
    quantized = {layer.name for layer in flat.layers if layer.name in standing and layer.name not in kept}
    _check_support(model, flat, quantized, standing)
    with without_rounding(flat):
        check_agreement(model, flat)
    preserved = {} if preserve is None else preserved_layers(flat, quantized, preserve)
    ready = _quantized(flat, quantized, preserved)
    set_weight_ranges(ready)
    if representative_data is not None:
        calibrate(ready, _first(input_batches(representative_data), calibration_batches, model))
    return ready


def _check_support(model: keras.Model, flat, quantized: set[str], paths: dict[str, str]) -> None:
    """Names all layers that tfmot cannot quantize.

    Raises:
        UnsupportedLayersError: There are such layers.
        LowRankError: No layer is to be quantized.
    """
    if not quantized:
        raise LowRankError(f"`exclude` leaves no layer of model '{model.name}' to quantize. Exclude fewer of them.")
    registry, sources, failures = Registry({}), flat_names(model), {}
    for layer in flat.layers:
        why = why_unsupported(layer, registry, quantized, paths) if layer.name in quantized else None
        if why is not None:
            path = paths[layer.name]
            failures.setdefault(path, (type(sources[path][0]).__name__, why))
    if failures:
        patterns = ", ".join(repr(re.escape(path)) for path in failures)
        raise UnsupportedLayersError(
            model.name,
            "quantized by tensorflow-model-optimization",
            failures,
            f"Leave them in float with exclude=[{patterns}], or replace them. Nothing was trained.",
        )


def _quantized(flat, quantized: set[str], preserved: dict[str, str]):
    keras2, quantization = tf_keras(), tfmot().quantization.keras

    def annotated(layer):
        return quantization.quantize_annotate_layer(layer) if layer.name in quantized else layer

    with quantization.quantize_scope():
        return quantization.quantize_apply(keras2.models.clone_model(flat, clone_function=annotated), Scheme(preserved))


def _first(batches, count: int, model: keras.Model):
    """Yields the first batches in the structure of the model.

    Raises:
        LowRankError: They are of other shapes than the model takes.
    """
    for batch in itertools.islice(batches, count):
        yield packed(model, fitted(model.name, feeds(model), batch))
