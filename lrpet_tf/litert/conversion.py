"""From a Keras model to the bytes of a `.tflite` file."""

import contextlib
import keyword
import logging
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import keras
import numpy as np

from lrpet_tf.errors import ExportError, require
from lrpet_tf.graph import Graph, input_layer
from lrpet_tf.litert.naming import layer_graph, layer_scopes, layers_of, named, output_layers
from lrpet_tf.quiet import without_native_logs

# What the converter is asked for, by the name that a user gives.
QUANTIZATIONS = (None, "float16", "int8")


class Converted(NamedTuple):
    """A `.tflite` file.

    Attributes:
        content: Its bytes.
        inputs: Names of its inputs, in the flattened order of the model's.
        outputs: Names of its outputs, likewise.
        scopes: Paths of the model's layers by the name scopes that their tensors have: see `layers_of`. Empty where unknown.
        ends: Paths of the layers that the outputs come from, or empty.
    """

    content: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    scopes: Mapping[str, str] = MappingProxyType({})
    ends: tuple[str, ...] = ()


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
    graph = layer_graph(model)
    with named(graph):
        function = serve.get_concrete_function()
    if quantize == "int8":
        _check_loops(function, model, graph)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if quantize == "float16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    if quantize == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: _random_inputs(specs)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return Converted(_run(converter, model, function, graph), inputs, outputs, layer_scopes(graph), output_layers(model))


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


def _nodes(function) -> list:
    """Returns the nodes of a TensorFlow function, those of the functions that it calls among them."""
    definition = function.graph.as_graph_def()
    return [*definition.node, *(node for each in definition.library.function for node in each.node_def)]


def _check_loops(function, model: keras.Model, graph: Graph | None) -> None:
    """Refuses loops, on which the calibration of TensorFlow's converter brings the process down."""
    loops = [node.name for node in _nodes(function) if node.op in ("While", "StatelessWhile")]
    if loops:
        scopes = layer_scopes(graph)
        where = ", ".join(f"'{path}'" for path in dict.fromkeys(path for name in loops for path in layers_of(name, scopes)))
        raise ExportError(
            f"The model '{model.name}' holds loops, which TensorFlow's converter cannot turn into integers; they come from "
            f"{where or 'layers that are not known'}. Build recurrent layers with unroll=True to time them in int8; "
            "export_tflite(…, quantize='int8') takes them as they are."
        )


def _run(converter, model: keras.Model, function, graph: Graph | None) -> bytes:
    try:
        with _quiet():
            return converter.convert()
    except Exception as error:  # the converter raises its own types, and bare ones
        listed = re.findall(r"(?:TF Select|Custom) ops: (.*)", str(error))
        if not listed:
            raise ExportError(f"TensorFlow could not convert the model '{model.name}': {error}") from error
        kinds = [kind.strip() for kinds in listed for kind in kinds.split(",")]
        raise ExportError(
            f"The model '{model.name}' holds operators that LiteRT does not have: {_with_layers(kinds, function, graph)}. "
            "Replace these layers, or move them out of the model."
        ) from error


def _with_layers(kinds: list[str], function, graph: Graph | None) -> str:
    """Returns kinds of operators, each with the layers that it comes from."""
    scopes, nodes = layer_scopes(graph), _nodes(function)
    parts = []
    for kind in dict.fromkeys(kinds):
        paths = dict.fromkeys(path for node in nodes if node.op == kind for path in layers_of(node.name, scopes))
        layers = ", ".join(f"'{path}' ({type(graph.layers()[path]).__name__})" for path in paths)
        parts.append(f"{kind} from {'layer' if len(paths) == 1 else 'layers'} {layers}" if paths else kind)
    return "; ".join(parts)
