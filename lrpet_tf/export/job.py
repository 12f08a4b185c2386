"""One export, from the models to what the report holds."""

import dataclasses
from collections.abc import Mapping, Sequence

import keras
import numpy as np

from lrpet_tf.adapters import Adapter
from lrpet_tf.costs import count_macs, count_params
from lrpet_tf.errors import ExportError, LowRankError
from lrpet_tf.export.audit import Audit, audit
from lrpet_tf.export.data import ExportData
from lrpet_tf.export.limits import Limits, check_conversion
from lrpet_tf.export.parity import OutputParity, compare
from lrpet_tf.export.provenance import FileInfo, file_metadata, provenance
from lrpet_tf.export.quantize import Mode, Stages, build, excluded_paths
from lrpet_tf.export.report import ExportReport, FileFigures
from lrpet_tf.export.stages import Stage, compare_stages, read_labels
from lrpet_tf.graph import as_graph, in_float32, is_graph
from lrpet_tf.litert import Converted, FileMetadata, arena_bytes, pack_inputs, run, with_metadata
from lrpet_tf.report import Progress

# How many values of an output a plot shows.
_POINTS = 1000
# What the report calls the stages before the file.
_REFERENCE, _KERAS, _FLOAT = "reference Keras model", "exported Keras model", "float32 file"
EXPORTED, REFERENCE = "exported", "reference"


@dataclasses.dataclass(frozen=True)
class Result:
    """What an export has made and measured, before it is timed and written.

    Attributes:
        files: The file, and that of the reference model, by `EXPORTED` and `REFERENCE`.
        figures: Size, costs and memory of each.
        stages: Agreement and accuracy stage by stage.
        parity: Agreement of the file with the Keras model.
        reference_parity: Agreement of the file with the reference model, or empty.
        audit: The operators of the file.
        metadata: What the file tells about itself.
        excluded: Paths of the layers that were left in floating values.
        pairs: Values by the Keras model and by the file.
        data: What it was compared on.
    """

    files: dict[str, Converted]
    figures: dict[str, FileFigures]
    stages: tuple[Stage, ...]
    parity: tuple[OutputParity, ...]
    reference_parity: tuple[OutputParity, ...]
    audit: Audit
    metadata: FileMetadata
    excluded: tuple[str, ...]
    pairs: tuple[tuple[float, float], ...]
    data: ExportData

    def report(self, path: str, quantize: str | None, latencies: Mapping[str, float], threads: int) -> ExportReport:
        """Returns the report.

        Args:
            path: The file.
            quantize: As given.
            latencies: Milliseconds by the names of `files`.
            threads: Threads that they were measured with.
        """
        timed = {name: dataclasses.replace(each, latency_ms=latencies[name]) for name, each in self.figures.items()}
        return ExportReport(
            path=path,
            quantize=quantize,
            samples=len(self.data.samples[0]),
            random_samples=self.data.random,
            parity=self.parity,
            reference_parity=self.reference_parity,
            exported=timed[EXPORTED],
            reference=timed.get(REFERENCE),
            threads=threads,
            stages=self.stages,
            audit=self.audit,
            calibration_samples=0 if self.data.calibration is None else len(self.data.calibration[0]),
            excluded=self.excluded,
            metadata=self.metadata,
            pairs=self.pairs,
        )


class Job:
    """What is to be exported, and how.

    Args:
        model: The model.
        reference: The model to compare with, or `None`.
        quantize: Name of the mode.
        mode: Its row.
        exclude: Patterns of layer paths.
        batch_size: Batch size of the file.
        info: What the user wants the file to tell.
        adapters: The user's adapters.

    Raises:
        ExportError: The models have other inputs or outputs, or `info` does not fit the model.
        UnsupportedModelError: A model is not built, or its code cannot be run on symbols.
    """

    def __init__(
        self,
        model: keras.Model,
        reference: keras.Model | None,
        quantize: str | None,
        mode: Mode,
        exclude,
        batch_size: int | None,
        info: FileInfo,
        adapters: Mapping[type, Adapter],
    ):
        self._source, self._quantize, self.mode, self._info, self._adapters = model, quantize, mode, info, adapters
        self._exclude, self._batch_size = exclude, batch_size
        self.model = in_float32(as_graph(model))
        self.models, self._holders = {EXPORTED: self.model}, {EXPORTED: _holder(model)}
        if reference is not None:
            self.models[REFERENCE] = in_float32(as_graph(reference))
            self._holders[REFERENCE] = _holder(reference)
            _check_reference(self.model, self.models[REFERENCE])
        info.tensors(self.model)

    def run(self, data: ExportData, limits: Limits, progress: Progress) -> Result:
        """Converts, quantizes and compares.

        Args:
            data: See `read_data`.
            limits: What is asked of the file.
            progress: Is advanced twice for each model.

        Raises:
            ExportError: A model cannot be converted or quantized, or the file is beyond a limit.
            PatternError: A pattern matches no layer.
        """
        built = {}
        for name, model in self.models.items():
            own = name == EXPORTED
            options = {"strict": own, "holder": self._holders[name]}
            built[name] = build(model, self.mode, self._batch_size, data.calibration, self._exclude, **options)
            progress.advance()
        expected = {name: _predict(model, data.samples) for name, model in self.models.items()}
        excluded = excluded_paths(built[EXPORTED].final, self._exclude)
        files, metadata = self._told(built, data, excluded)
        outputs = self._outputs(built[EXPORTED], files[EXPORTED], expected, data)
        names = built[EXPORTED].final.outputs
        right = read_labels(self.model, data.targets, expected[EXPORTED], given=data.labelled)
        stages = compare_stages(names, outputs, right)
        if built[EXPORTED].floating is not built[EXPORTED].final:
            check_conversion(self.model.name, compare(names, expected[EXPORTED], outputs[_FLOAT]), stages)
        *_, final = outputs.values()
        parity = {name: compare(names, each, final) for name, each in expected.items()}
        limits.check(self.model.name, parity[EXPORTED], stages)
        found = audit(files[EXPORTED], integers=self.mode.needs_data, excluded=frozenset(excluded))
        figures = {name: self._figures(self.models[name], file, progress) for name, file in files.items()}
        return Result(
            files, figures, stages, parity[EXPORTED], parity.get(REFERENCE, ()), found, metadata, excluded,
            _pairs(expected[EXPORTED][0], final[0]), data,
        )  # fmt: skip

    def _outputs(self, built: Stages, final: Converted, expected: Mapping, data: ExportData) -> dict[str, Sequence[np.ndarray]]:
        """Returns the outputs by stage, in order."""
        found = {_REFERENCE: expected[REFERENCE]} if REFERENCE in expected else {}
        found[_KERAS] = expected[EXPORTED]
        if built.floating is not built.final:
            found[_FLOAT] = run(built.floating, data.samples)
        return {**found, f"{self._quantize or 'float32'} file": run(final, data.samples)}

    def _told(self, built: Mapping[str, Stages], data: ExportData, excluded) -> tuple[dict[str, Converted], FileMetadata]:
        """Returns the files with their metadata: what is compared, measured and written is the same file."""
        files, told = {}, {}
        for name, stages in built.items():
            own = name == EXPORTED
            facts = provenance(
                self._source if own else self.models[name],
                quantize=self._quantize or "float32",
                macs=self._macs(self.models[name]),
                params=count_params(self.models[name], adapters=self._adapters),
                calibration_samples=None if data.calibration is None else len(data.calibration[0]),
                excluded=list(excluded) or None,
            )
            info = self._info if own else FileInfo()
            told[name] = file_metadata(self.models[name], stages.final, info, facts)
            files[name] = stages.final._replace(content=with_metadata(stages.final.content, told[name]))
        return files, told[EXPORTED]

    def _macs(self, model: keras.Model) -> int | None:
        try:
            return count_macs(model, adapters=self._adapters)
        except LowRankError:
            return None  # an image size is unknown

    def _figures(self, model: keras.Model, file: Converted, progress: Progress) -> FileFigures:
        params = count_params(model, adapters=self._adapters)
        found = FileFigures(len(file.content), self._macs(model), params, None, arena_bytes(file))
        progress.advance()
        return found


def _holder(model: keras.Model) -> str:
    """Returns what stands before the paths of a subclassed model's layers once it is put into a graph."""
    return "" if is_graph(model) else f"{model.name}/"


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


def _pairs(expected: np.ndarray, received: np.ndarray) -> tuple[tuple[float, float], ...]:
    values = np.stack([expected.ravel(), received.ravel()], -1).astype(float)
    return tuple((first, second) for first, second in values[:: -(-len(values) // _POINTS)].tolist())
