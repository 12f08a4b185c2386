"""From a Keras model to the bytes of a `.tflite` file."""

import contextlib
import keyword
import logging
import re
from typing import NamedTuple

import keras
import numpy as np

from lrpet_tf.errors import ExportError, require
from lrpet_tf.graph import input_layer
from lrpet_tf.quiet import without_native_logs

# What the converter is asked for, by the name that a user gives.
QUANTIZATIONS = (None, "float16", "int8")


class Converted(NamedTuple):
    """The bytes of a `.tflite` file, and the names of its inputs and outputs in the flattened order of the model's."""

    content: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def _clean(name: str, kind: str) -> str:
    """Returns a name that TensorFlow takes for an argument of a signature."""
    name = re.sub(r"\W", "_", name)
    refused = name.startswith("_") or keyword.iskeyword(name) or name == "self"
    return f"{kind}_{name.lstrip('_')}" if refused else name


def _unique(names: list[str], kind: str) -> tuple[str, ...]:
    names = [_clean(name, kind) for name in names]
    return tuple(names) if len(set(names)) == len(names) else tuple(f"{kind}_{i}" for i in range(len(names)))


def convert(model: keras.Model, *, quantize: str | None = None, batch_size: int | None = 1) -> Converted:
    """Converts a model with TensorFlow's converter, to LiteRT's builtin operators only.

    Args:
        model: A built Functional or Sequential model that computes in float32.
        quantize: `None` for float32, `"float16"` for weights of half the size, or `"int8"` for integers throughout, inputs and
            outputs included, scaled on random numbers: good for measuring time, not for its outputs.
        batch_size: Batch size of the file; `None` for any, which costs some speed.

    Returns:
        The file's content, and its input and output names: the model's own, with other characters than letters, digits and
        `_` replaced by `_`.

    Raises:
        ExportError: The backend is not TensorFlow, or the model holds operators that LiteRT does not have.
        ValueError: `quantize` is unknown.
    """
    if quantize not in QUANTIZATIONS:
        raise ValueError(f"`quantize` must be one of {QUANTIZATIONS}. Received: quantize={quantize!r}")
    if keras.backend.backend() != "tensorflow":
        raise ExportError(
            "LiteRT files are made by TensorFlow. Save the model as .keras, and export it in a process with "
            f"KERAS_BACKEND=tensorflow. Received: backend {keras.backend.backend()!r}"
        )
    tf = require("tensorflow", "tensorflow")
    inputs = _unique([input_layer(tensor).name for tensor in model.inputs], "input")
    outputs = _unique(_output_names(model), "output")
    specs = [
        tf.TensorSpec((batch_size, *tensor.shape[1:]), tensor.dtype, name=name)
        for tensor, name in zip(model.inputs, inputs, strict=True)
    ]

    @tf.function(input_signature=specs)
    def serve(*tensors):
        results = keras.tree.flatten(model(pack_inputs(model, tensors), training=False))
        return dict(zip(outputs, results, strict=True))

    module = tf.Module()
    module.serve = serve
    module.weights = [variable.value for variable in model.variables]  # tracked here, they become constants of the file
    converter = tf.lite.TFLiteConverter.from_concrete_functions([serve.get_concrete_function()], module)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if quantize == "float16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    if quantize == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: _random_inputs(specs)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return Converted(_run(converter, model), inputs, outputs)


def _random_inputs(specs):
    rng = np.random.default_rng(0)
    for _ in range(2):
        yield [rng.standard_normal([size or 1 for size in spec.shape]).astype(spec.dtype.as_numpy_dtype) for spec in specs]


def pack_inputs(model: keras.Model, tensors):
    """Returns a flat sequence of inputs in the structure that the model takes."""
    if isinstance(model, keras.Sequential):
        return tensors[0]
    return keras.tree.pack_sequence_as(model.input, list(tensors))


def _output_names(model: keras.Model) -> list[str]:
    if isinstance(model, keras.Sequential):
        return [model.layers[-1].name]
    if isinstance(model.output, dict):
        return [".".join(map(str, path)) for path, _ in keras.tree.flatten_with_path(model.output)]
    return list(model.output_names)


@contextlib.contextmanager
def _quiet():
    """Keeps TensorFlow from telling about its ways and folders."""
    loggers = [logging.getLogger(name) for name in ("tensorflow", "absl")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        with without_native_logs():
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _run(converter, model: keras.Model) -> bytes:
    try:
        with _quiet():
            return converter.convert()
    except Exception as error:  # the converter raises its own types, and bare ones
        unsupported = re.findall(r"(?:TF Select|Custom) ops: (.*)", str(error))
        if not unsupported:
            raise ExportError(f"TensorFlow could not convert the model '{model.name}': {error}") from error
        raise ExportError(
            f"The model '{model.name}' holds operators that LiteRT does not have: {', '.join(unsupported)}. Replace the layers "
            "that make them, or move them out of the model."
        ) from error
