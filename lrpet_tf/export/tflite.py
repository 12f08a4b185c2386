"""Exporting a model to a `.tflite` file that is known to be right."""

import os
import pathlib
from collections.abc import Mapping

import keras
import numpy as np

from lrpet_tf.adapters import Adapter, check_adapters
from lrpet_tf.costs import count_macs, count_params
from lrpet_tf.errors import ExportError, LowRankError
from lrpet_tf.export.parity import OutputParity, compare
from lrpet_tf.export.report import ExportReport, FileFigures
from lrpet_tf.export.samples import read_samples
from lrpet_tf.files import write_atomically
from lrpet_tf.graph import as_graph, in_float32
from lrpet_tf.litert import Converted, convert, interleaved_latency, pack_inputs, run
from lrpet_tf.report import Progress

# Largest difference that is still agreement, as a share of the output scale.
_TOLERANCES = {None: 1e-4, "float16": 1e-2}


def export_tflite(
    model: keras.Model,
    path: str | os.PathLike,
    *,
    quantize: str | None = None,
    reference: keras.Model | None = None,
    samples=None,
    max_samples: int = 100,
    tolerance: float | None = None,
    batch_size: int | None = 1,
    threads: int = 1,
    adapters: Mapping[type, Adapter] | None = None,
) -> ExportReport:
    """Writes a model to a `.tflite` file, once the converted model is shown to agree with it.

    The file uses LiteRT's builtin operators alone. It is run through LiteRT on samples and compared with the Keras model;
    it is written, under a temporary name and then renamed, only when the two agree.

    Args:
        model: A built model, as a rule from `factorize`; one of mixed precision with a graph is exported in float32.
        path: The file, ending in `.tflite`.
        quantize: `None` for float32, or `"float16"` for weights of half the size.
        reference: A model to compare with, as a rule the one before `factorize`. It is converted in the same way, and the
            latencies of the two are measured in turns.
        samples: Inputs to compare on, as `fit` or `predict` take them, targets or not. Random numbers by default: give real
            ones to learn about top-1 agreement.
        max_samples: How many of the samples to use.
        tolerance: Largest difference allowed, as a share of the largest output; by default 1e-4 in float32 and 1e-2 in
            float16.
        batch_size: Batch size of the file; `None` for any, which costs some speed.
        threads: Threads for measuring the latency.
        adapters: Adapters of layers of your own, by class, whose multiply-accumulates and weights are then counted too: see
            docs/adapters.md.

    Returns:
        Size, multiply-accumulates, weights, agreement and latency, before and after.

    Raises:
        ExportError: The path does not end in `.tflite` or its folder does not exist, the samples do not fit the model, the
            model cannot be converted, or the outputs of the file differ by more than the tolerance. No file is written then.
        UnsupportedModelError: The model is not built, or its code cannot be run on symbols.
        LowRankError: `adapters` is no table of adapters.
        ValueError: `quantize` is unknown.
    """
    extra = check_adapters(adapters)
    if quantize not in _TOLERANCES:
        raise ValueError(f"`quantize` must be one of {tuple(_TOLERANCES)}. Received: quantize={quantize!r}")
    path = check_path(path)
    model, reference = (_prepare(each) for each in (model, reference))
    arrays = read_samples(model, samples, max_samples)
    models = {"exported": model}
    if reference is not None:
        _check_reference(model, reference)
        models["reference"] = reference

    with Progress("Exporting", 2 * len(models) + 1) as progress:
        converted, parities = {}, {"reference": ()}
        for name, each in models.items():
            converted[name] = convert(each, quantize=quantize, batch_size=batch_size)
            progress.advance()
        outputs = run(converted["exported"], arrays)
        for name, each in models.items():
            parities[name] = compare(converted["exported"].outputs, _predict(each, arrays), outputs)
            progress.advance()
        _check(model, parities["exported"], _TOLERANCES[quantize] if tolerance is None else tolerance)
        latencies = interleaved_latency(converted, arrays, threads=threads)
        progress.advance()
    report = ExportReport(
        path=str(path),
        quantize=quantize,
        samples=len(arrays[0]),
        random_samples=samples is None,
        parity=parities["exported"],
        reference_parity=parities["reference"],
        exported=_figures(model, converted["exported"], latencies["exported"], extra),
        reference=(None if reference is None else _figures(reference, converted["reference"], latencies["reference"], extra)),
        threads=threads,
    )
    write_atomically(path, converted["exported"].content)
    return report


def check_path(path: str | os.PathLike) -> pathlib.Path:
    """Returns the path of a file to export to.

    Raises:
        ExportError: It does not end in `.tflite`, or its folder does not exist.
    """
    path = pathlib.Path(path)
    if path.suffix != ".tflite":
        raise ExportError(f"The path must end in '.tflite'. Received: path='{path}'")
    if not path.parent.is_dir():
        raise ExportError(f"The folder of the file does not exist. Received: path='{path}'")
    return path


def _prepare(model: keras.Model | None) -> keras.Model | None:
    if model is None:
        return None
    return in_float32(as_graph(model))


def _check_reference(model: keras.Model, reference: keras.Model) -> None:
    for what in ("input", "output"):
        expected = [tuple(tensor.shape) for tensor in getattr(model, f"{what}s")]
        received = [tuple(tensor.shape) for tensor in getattr(reference, f"{what}s")]
        if expected != received:
            raise ExportError(
                f"The reference model '{reference.name}' must have the {what}s of '{model.name}', of shapes {expected}. "
                f"Received: {what}s of shapes {received}"
            )


def _predict(model: keras.Model, arrays: list[np.ndarray]) -> list[np.ndarray]:
    outputs = model.predict(pack_inputs(model, arrays), batch_size=32, verbose=0)
    return [np.asarray(output) for output in keras.tree.flatten(outputs)]


def _check(model: keras.Model, parity: tuple[OutputParity, ...], tolerance: float) -> None:
    for output in parity:
        if not output.relative_difference <= tolerance:  # NaN is no agreement
            raise ExportError(
                f"The converted model '{model.name}' does not agree with the Keras model: output '{output.name}' differs by "
                f"{output.max_difference:.3g}, {output.relative_difference:.3g} of its scale, and {tolerance:.3g} is allowed. "
                "No file was written. Pass a larger tolerance= if that is good enough."
            )


def _figures(model: keras.Model, converted: Converted, latency: float, extra: Mapping[type, Adapter]) -> FileFigures:
    try:
        macs = count_macs(model, adapters=extra)
    except LowRankError:
        macs = None  # an image size is unknown
    return FileFigures(len(converted.content), macs, count_params(model, adapters=extra), latency)
