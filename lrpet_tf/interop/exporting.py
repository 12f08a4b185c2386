"""The int8 file of a model that was trained for quantization, written once it is shown to agree."""

import dataclasses
import os
import re
from collections.abc import Sequence

import numpy as np

from lrpet_tf.data import first_samples
from lrpet_tf.errors import ExportError, require
from lrpet_tf.export import check_path
from lrpet_tf.export.parity import OutputParity, compare
from lrpet_tf.files import write_atomically
from lrpet_tf.interop.feeding import Feed, fitted
from lrpet_tf.interop.packages import tf_keras
from lrpet_tf.litert import Converted
from lrpet_tf.quiet import without_native_logs
from lrpet_tf.report import kilobytes, render


@dataclasses.dataclass(frozen=True)
class KernelFigures:
    """What is known of a kernel in a file.

    Attributes:
        name: Name of the layer.
        shape: Its shape, the output channels first, or last for depthwise convolutions.
        sparsity: Share of zeros.
        values: Most values that differ, in one channel of those that have a scale of their own, or in the whole kernel.
        scales: Number of scales: that of the channels, or one.
    """

    name: str
    shape: tuple[int, ...]
    sparsity: float
    values: int
    scales: int


@dataclasses.dataclass(frozen=True)
class QuantizedFile:
    """What `export_quantized` wrote. Printing it shows a table.

    Attributes:
        path: The file.
        size_bytes: Its size.
        samples: Number of samples that the outputs were compared on.
        parity: Agreement of the file with the model that was trained, one entry an output.
        kernels: The int8 kernels in the file.
    """

    path: str
    size_bytes: int
    samples: int
    parity: tuple[OutputParity, ...]
    kernels: tuple[KernelFigures, ...]

    def to_dict(self) -> dict:
        """Returns the report as plain values, for JSON."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        """Returns the report as text."""
        rows = [
            (each.name, "×".join(map(str, each.shape)), f"{100 * each.sparsity:.1f} %", str(each.values), str(each.scales))
            for each in self.kernels
        ]
        title = f"{self.path} (int8, {kilobytes(self.size_bytes)})"
        table = render(title, ("kernel", "shape", "zeros", "values", "scales"), rows)
        worst = max(self.parity, key=lambda output: output.relative_difference)
        agreement = min((each.top1_agreement for each in self.parity if each.top1_agreement is not None), default=None)
        return (
            f"{table}\nagainst the trained model on {self.samples} samples: largest difference {worst.max_difference:.2g} "
            f"({worst.relative_difference:.1g} of the output scale), cosine {min(each.cosine for each in self.parity):.6f}"
            + ("" if agreement is None else f", top-1 agreement {100 * agreement:.1f} %")
        )


def convert_quantized(model, *, integer_io: bool = False) -> Converted:
    """Converts a model from `quantize_aware` to a `.tflite` file, to LiteRT's builtin operators only.

    Args:
        model: The `tf_keras.Model`.
        integer_io: Whether inputs and outputs are int8 too, rather than float32.

    Returns:
        The file's content, and its input and output names: those of the layers, in the order of `model.inputs` and
        `model.outputs`.

    Raises:
        ExportError: The model cannot be converted.
    """
    tf_keras()
    tf = require("tensorflow", "tensorflow")
    names = [re.sub(r"\W", "_", layer.name) for layer in model._input_layers]
    outputs = [re.sub(r"\W", "_", name.removeprefix("quant_")) for name in model.output_names]
    specs = [
        tf.TensorSpec((1, *tensor.shape[1:]), tensor.dtype, name=name) for tensor, name in zip(model.inputs, names, strict=True)
    ]

    @tf.function(input_signature=specs)
    def serve(*tensors):
        results = tf.nest.flatten(model(tf.nest.pack_sequence_as(model.input, tensors), training=False))
        return dict(zip(outputs, results, strict=True))

    converter = tf.lite.TFLiteConverter.from_concrete_functions([serve.get_concrete_function()], model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if integer_io:
        converter.inference_input_type = converter.inference_output_type = tf.int8
    try:
        with without_native_logs():
            content = converter.convert()
    except Exception as error:  # the converter raises its own types, and bare ones
        raise ExportError(f"TensorFlow could not convert the model '{model.name}': {error}") from error
    return Converted(content, tuple(names), tuple(outputs))


def run_quantized(converted: Converted, samples: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Runs a file on samples, one at a time; inputs and outputs that are int8 in the file are scaled here.

    Args:
        converted: The file, of a batch size of one.
        samples: One float array for each input, in the order of `converted.inputs`.

    Returns:
        One float array for each output, in the order of `converted.outputs`.
    """
    interpreter = require("ai_edge_litert.interpreter", "ai-edge-litert").Interpreter(model_content=converted.content)
    runner = interpreter.get_signature_runner()
    given, taken = runner.get_input_details(), runner.get_output_details()
    results = []
    for index in range(len(samples[0])):
        sample = {
            name: _scaled(array[index : index + 1], given[name]) for name, array in zip(converted.inputs, samples, strict=True)
        }
        outputs = runner(**sample)
        results.append([_unscaled(outputs[name], taken[name]) for name in converted.outputs])
    return [np.concatenate(output) for output in zip(*results, strict=True)]


def _scaled(array: np.ndarray, detail) -> np.ndarray:
    scale, zero = detail["quantization"]
    if detail["dtype"] is not np.int8:
        return array
    return np.clip(np.round(array / scale) + zero, -128, 127).astype("int8")


def _unscaled(array: np.ndarray, detail) -> np.ndarray:
    scale, zero = detail["quantization"]
    return (array.astype("float32") - zero) * scale if detail["dtype"] is np.int8 else np.array(array)


def kernel_figures(content: bytes) -> tuple[KernelFigures, ...]:
    """Returns what is known of the int8 kernels in a `.tflite` file.

    Args:
        content: The file's content.
    """
    interpreter = require("ai_edge_litert.interpreter", "ai-edge-litert").Interpreter(model_content=content)
    found = []
    for detail in interpreter.get_tensor_details():
        if detail["dtype"] is not np.int8 or len(detail["shape"]) < 2:
            continue
        try:
            values = interpreter.get_tensor(detail["index"])
        except ValueError:  # not a constant: nothing is allocated
            continue
        parameters = detail["quantization_parameters"]
        scales, axis = len(parameters["scales"]), parameters["quantized_dimension"]
        channels = np.moveaxis(values, axis, 0).reshape(scales, -1) if scales > 1 else values.reshape(1, -1)
        zeros = np.mean(values == (parameters["zero_points"][0] if scales else 0))
        most = max(len(np.unique(channel)) for channel in channels)
        found.append(KernelFigures(_layer_name(detail["name"]), tuple(values.shape), float(zeros), most, scales))
    return tuple(found)


def _layer_name(tensor: str) -> str:
    """Returns the name of the layer that a tensor of a file comes from, where it tells one."""
    found = re.search(r"(?:^|[/;])quant_([^/;]+)", tensor)
    return found[1] if found else tensor


def export_quantized(
    model, path: str | os.PathLike, *, samples, max_samples: int = 100, tolerance: float = 0.1, integer_io: bool = False
) -> QuantizedFile:
    """Writes a model that was trained for quantization to an int8 `.tflite` file, once the two are shown to agree.

    Args:
        model: The `tf_keras.Model` from `quantize_aware`.
        path: The file, ending in `.tflite`.
        samples: Inputs to compare on, as `fit` takes them, targets or not.
        max_samples: How many of the samples to use.
        tolerance: Largest difference allowed, as a share of the largest output.
        integer_io: Whether inputs and outputs of the file are int8 too, rather than float32.

    Returns:
        Size, agreement, and what became of the kernels.

    Raises:
        ExportError: The path does not end in `.tflite` or its folder does not exist, the model cannot be converted, or the
            outputs differ by more than the tolerance. No file is written then.
        LowRankError: The samples are of no readable kind.
    """
    path = check_path(path)
    tf = require("tensorflow", "tensorflow")
    expected = [
        Feed(layer.name, tuple(tensor.shape[1:]), tensor.dtype.name)
        for layer, tensor in zip(model._input_layers, model.inputs, strict=True)
    ]
    arrays = fitted(model.name, expected, first_samples(samples, max_samples))
    converted = convert_quantized(model, integer_io=integer_io)
    outputs = tf.nest.flatten(model.predict(tf.nest.pack_sequence_as(model.input, arrays), verbose=0))
    parity = compare(converted.outputs, outputs, run_quantized(converted, arrays))
    for output in parity:
        if not output.relative_difference <= tolerance:
            raise ExportError(
                f"The int8 file does not agree with the model '{model.name}': output '{output.name}' differs by "
                f"{output.max_difference:.3g}, {output.relative_difference:.3g} of its scale, and {tolerance:.3g} is allowed. "
                "No file was written. Give quantize_aware representative_data=, or train longer: the ranges may not have "
                "settled. Or pass a larger tolerance=."
            )
    report = QuantizedFile(str(path), len(converted.content), len(arrays[0]), parity, kernel_figures(converted.content))
    write_atomically(path, converted.content)
    return report
