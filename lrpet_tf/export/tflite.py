"""Exporting a model to a `.tflite` file that is known to be right."""

import os
import pathlib
import tempfile
from collections.abc import Mapping

import keras

from lrpet_tf.adapters import Adapter, check_adapters
from lrpet_tf.errors import ExportError
from lrpet_tf.export.data import read_data
from lrpet_tf.export.job import EXPORTED, Job
from lrpet_tf.export.limits import Limits
from lrpet_tf.export.provenance import FileInfo
from lrpet_tf.export.quantize import MODES, get_mode
from lrpet_tf.export.report import ExportReport
from lrpet_tf.files import write_atomically
from lrpet_tf.litert import interleaved_latency
from lrpet_tf.report import Progress


def export_tflite(
    model: keras.Model,
    path: str | os.PathLike,
    *,
    quantize: str | None = None,
    representative_data=None,
    exclude=None,
    reference: keras.Model | None = None,
    samples=None,
    labels=None,
    max_samples: int = 100,
    calibration_samples: int = 200,
    tolerance: float | None = None,
    min_sqnr_db: float | None = None,
    min_top1_agreement: float | None = None,
    max_accuracy_drop: float | None = None,
    batch_size: int | None = 1,
    threads: int = 1,
    info: FileInfo | None = None,
    adapters: Mapping[type, Adapter] | None = None,
) -> ExportReport:
    """Writes a model to a `.tflite` file, once the converted model is shown to agree with it.

    The file uses LiteRT's builtin operators alone, and keeps the names of the model's inputs and outputs. It is run through
    LiteRT on samples and compared with the Keras model; it is written, under a temporary name and then renamed, only when the
    two agree.

    Args:
        model: A built model, as a rule from `factorize`; one of mixed precision with a graph is exported in float32.
        path: The file, ending in `.tflite`.
        quantize: `None` for float32; `"float16"` for weights of 16 bits; `"dynamic"` for weights of 8 bits; `"int8"` for
            integers throughout, with floating inputs and outputs, or `"int8_io"` with integer ones; `"int16x8"` for weights of
            8 bits and values of 16. All but the first two need the extra `quantize`.
        representative_data: Inputs as in training, as `fit` or `predict` take them, which the ranges of integers are taken
            from; for `"int8"`, `"int8_io"` and `"int16x8"`.
        exclude: Pattern or patterns of the paths of layers that stay in floating values where the others are quantized to 8 or
            16 bits. An operator that several layers were fused into stays as soon as one of them does.
        reference: A model to compare with, as a rule the one before `factorize`. It is converted and quantized in the same way,
            and the latencies of the two are measured in turns.
        samples: Inputs to compare on, as `fit` or `predict` take them; class labels among them are used too. By default the
            representative data, or else random numbers: give real ones to learn about top-1 agreement.
        labels: Class labels of the samples, where they do not hold them: indices or one-hot rows.
        max_samples: How many of the samples to use.
        calibration_samples: How many samples of the representative data to use.
        tolerance: Largest difference allowed, as a share of the largest output; by default 1e-4 in float32, 1e-2 in float16,
            and any where integers are used.
        min_sqnr_db: Least ratio of signal to noise against the Keras model, in dB; by default 10 where integers are used, which
            tells what is broken, and not what is good enough.
        min_top1_agreement: Least share of decisions that must be the Keras model's.
        max_accuracy_drop: Largest loss of accuracy allowed, as a share, from the reference, or else from the Keras model, to
            the file; it takes labels.
        batch_size: Batch size of the file; `None` for any, which costs some speed.
        threads: Threads for measuring the latency.
        info: What else the file is to tell about itself: normalisation of the inputs, labels of the outputs, author, licence.
        adapters: Adapters of layers of your own, by class, whose multiply-accumulates and weights are then counted too: see
            docs/adapters.md.

    Returns:
        Size, multiply-accumulates, weights, agreement, latency and memory, before and after; agreement and accuracy stage by
        stage; and the operators of the file.

    Raises:
        ExportError: The path does not end in `.tflite`, is a folder, or its folder does not exist or cannot be written to; the
            samples or the representative data do not fit the model, are of different scales or missing; the model cannot be
            converted or quantized; or the file is beyond a limit. No file is written then, and one that is there stays.
        PatternError: A pattern of `exclude` matches no layer.
        UnsupportedModelError: The model is not built, or its code cannot be run on symbols.
        LowRankError: `adapters` is no table of adapters.
        MissingExtraError: The quantizer is not installed.
        ValueError: `quantize` is unknown.

    Warns:
        UserWarning: Data is of a scale that the model does not seem to take.
    """
    extra, mode, path = check_adapters(adapters), get_mode(quantize), check_path(path)
    if exclude is not None and mode.scheme is None:
        able = [name for name, each in MODES.items() if each.scheme is not None]
        raise ExportError(f"`exclude` takes one of quantize={', '.join(map(repr, able))}. Received: quantize={quantize!r}")
    limits = Limits(
        mode.tolerance if tolerance is None else tolerance,
        mode.min_sqnr_db if min_sqnr_db is None else min_sqnr_db,
        min_top1_agreement,
        max_accuracy_drop,
    )
    job = Job(model, reference, quantize, mode, exclude, batch_size, info or FileInfo(), extra)
    data = read_data(job.model, mode, samples, labels, representative_data, max_samples, calibration_samples)
    with Progress("Exporting", 2 * len(job.models) + 1) as progress:
        found = job.run(data, limits, progress)
        latencies = interleaved_latency(found.files, data.samples, threads=threads)
        progress.advance()
    report = found.report(str(path), quantize, latencies, threads)
    _write(path, found.files[EXPORTED].content)
    return report


def check_path(path: str | os.PathLike) -> pathlib.Path:
    """Returns the path of a file to export to.

    Raises:
        ExportError: It does not end in `.tflite`, is a folder, or its folder does not exist or cannot be written to.
    """
    path = pathlib.Path(path)
    if path.suffix != ".tflite":
        raise ExportError(f"The path must end in '.tflite'. Received: path='{path}'")
    if path.is_dir():
        raise ExportError(f"Expected a file to write to, and this is a folder. Received: path='{path}'")
    if not path.parent.is_dir():
        raise ExportError(f"The folder of the file does not exist. Received: path='{path}'")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ExportError(f"The folder of the file cannot be written to ({error.strerror}). Received: path='{path}'") from error
    return path


def _write(path: pathlib.Path, content: bytes) -> None:
    try:
        write_atomically(path, content)
    except OSError as error:
        raise ExportError(
            f"The file could not be written ({error.strerror or error}); what was there before is as it was. "
            f"Received: path='{path}', "
            f"{len(content)} bytes"
        ) from error
