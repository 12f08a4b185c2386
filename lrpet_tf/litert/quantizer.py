"""Files of floating values turned into files of integers, by AI Edge Quantizer.

Why this and not TensorFlow's converter, and what is done for each mode: docs/quantization.md.
"""

import contextlib
import io
import re
import warnings
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from lrpet_tf.errors import ExportError, require
from lrpet_tf.litert.calibration import Ranges
from lrpet_tf.litert.conversion import Converted
from lrpet_tf.litert.flatbuffer import operator_name, pack, text, unpack

# Smaller kernels stay as they are where values are quantized while the file runs: it costs more time than it saves bytes.
_LEAST_DYNAMIC_WEIGHTS = 1024


class Scheme(NamedTuple):
    """How the operators of a file are quantized; weights have 8 bits, and a scale for each channel.

    Attributes:
        activation_bits: 8 or 16 for values scaled beforehand, from ranges; `None` for values scaled while the file runs.
        integer_ends: Whether inputs and outputs are integers.
    """

    activation_bits: int | None
    integer_ends: bool = False


def quantize(converted: Converted, scheme: Scheme, ranges: Ranges, left: Iterable[str] = ()) -> Converted:
    """Quantizes a file.

    Args:
        converted: A file in float32.
        scheme: How.
        ranges: See `activation_ranges`; not looked at where values are scaled while the file runs.
        left: Operators to leave in floating values, by the names of their output tensors as `output_names` returns them.

    Returns:
        The file, with the names of `converted`.

    Raises:
        ExportError: The quantizer fails.
        MissingExtraError: AI Edge Quantizer is not installed.
    """
    package = require("ai_edge_quantizer.quantizer", "'lrpet-tf[quantize]'")
    static = scheme.activation_bits is not None
    content = _prepared(converted.content, scheme) if static else converted.content
    values = {
        name: {"min": np.array([low], np.float32), "max": np.array([high], np.float32)} for name, (low, high) in ranges.items()
    }
    try:
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():  # its progress bars, and how it runs files
            warnings.filterwarnings("ignore", ".*experimental_preserve_all_tensors")
            worker = package.Quantizer(bytearray(content))
            _fill_recipe(worker, scheme, unpack(content), tuple(left))
            found = worker.quantize(values if static else None, enable_progress_report=False)
    except (RuntimeError, ValueError, KeyError, IndexError, NotImplementedError) as error:
        raise ExportError(
            f"AI Edge Quantizer could not quantize the file: {' '.join(str(error).split())}. Leave the layers that it names in "
            "floating values with exclude=, or choose another quantize=."
        ) from error
    return converted._replace(content=bytes(found.quantized_model))


def _fill_recipe(worker, scheme: Scheme, model, left: tuple[str, ...]) -> None:
    """Says which operators are quantized, and how; later words overrule earlier ones."""
    kinds = require("ai_edge_quantizer.qtyping", "'lrpet-tf[quantize]'")
    every, none = kinds.TFLOperationName.ALL_SUPPORTED, "no_quantize"
    loops = _inside_loops(model)
    if scheme.activation_bits is None:
        _add_dynamic(worker, kinds, ".*", every)
        # XNNPACK has no such kernel, and LiteRT's own takes several times as long as in float32.
        worker.update_quantization_recipe(".*", kinds.TFLOperationName.DEPTHWISE_CONV_2D, algorithm_key=none)
    else:
        worker.add_static_config(".*", every, scheme.activation_bits, 8)
        if not scheme.integer_ends:
            for end in (kinds.TFLOperationName.INPUT, kinds.TFLOperationName.OUTPUT):
                worker.update_quantization_recipe(".*", end, algorithm_key=none)
        if loops:  # the values in them are not observed: they are scaled while the file runs
            worker.update_quantization_recipe(_any_of(loops), every, algorithm_key=none)
            _add_dynamic(worker, kinds, _any_of(loops), kinds.TFLOperationName.FULLY_CONNECTED)
    if left:
        worker.update_quantization_recipe(_any_of(left), every, algorithm_key=none)


def _add_dynamic(worker, kinds, pattern: str, operation) -> None:
    weights = kinds.TensorQuantizationConfig(num_bits=8, symmetric=True, granularity=kinds.QuantGranularity.CHANNELWISE)
    config = kinds.OpQuantizationConfig(
        weight_tensor_config=weights,
        compute_precision=kinds.ComputePrecision.INTEGER,
        explicit_dequantize=False,
        min_weight_elements=_LEAST_DYNAMIC_WEIGHTS,
    )
    worker.update_quantization_recipe(pattern, operation, config)


def _any_of(names: Iterable[str]) -> str:
    return f"^(?:{'|'.join(map(re.escape, names))})$"


def output_names(graph, operator) -> str:
    """Returns the names of the tensors that an operator puts out, each with a `;` behind it, as the quantizer joins them."""
    return "".join(f"{text(graph.tensors[index].name)};" for index in operator.outputs if index >= 0)


def _inside_loops(model) -> list[str]:
    """Returns the names of the operators in all graphs but the main one, and those of the ends of these graphs."""
    found = []
    for graph in model.subgraphs[1:]:
        found += [output_names(graph, operator) for operator in graph.operators]
        found += ["".join(f"{text(graph.tensors[index].name)};" for index in side) for side in (graph.inputs, graph.outputs)]
    return list(dict.fromkeys(found))


def _prepared(content: bytes, scheme: Scheme) -> bytes:
    """Returns a file in which integers can take the place of floating values."""
    model = unpack(content)
    for operator in [each for each in model.subgraphs[0].operators if operator_name(model, each) == "NEG"]:
        _multiply_instead(model, operator)
    if scheme.activation_bits == 16:  # sums and differences may then have any scale, not powers of two alone
        for graph in model.subgraphs:
            for operator in graph.operators:
                if operator_name(model, operator) in ("ADD", "SUB") and operator.builtinOptions is not None:
                    operator.builtinOptions.potScaleInt16 = False
    return pack(model)


def _multiply_instead(model, operator) -> None:
    """Makes a change of sign, which LiteRT has for floating values alone, a product with -1: layer normalisation holds one."""
    schema = require("ai_edge_litert.schema_py_generated", "ai-edge-litert")
    graph = model.subgraphs[0]
    if graph.tensors[operator.inputs[0]].type != schema.TensorType.FLOAT32:
        return
    buffer, tensor, code = schema.BufferT(), schema.TensorT(), schema.OperatorCodeT()
    buffer.data = np.frombuffer(np.float32(-1).tobytes(), np.uint8)
    tensor.name, tensor.buffer, tensor.shape = f"minus_one_{len(graph.tensors)}", len(model.buffers), np.array([1], np.int32)
    tensor.type = schema.TensorType.FLOAT32
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.MUL
    code.version = 1
    operator.inputs = np.array([operator.inputs[0], len(graph.tensors)], np.int32)
    operator.opcodeIndex = len(model.operatorCodes)
    operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.MulOptions, schema.MulOptionsT()
    model.buffers.append(buffer)
    graph.tensors.append(tensor)
    model.operatorCodes.append(code)
