"""What an export did, and the proof that the file is right."""

import dataclasses
import json
import math
import os
import pathlib

from lrpet_tf.errors import ExportError
from lrpet_tf.export.audit import Audit
from lrpet_tf.export.html import page
from lrpet_tf.export.parity import OutputParity
from lrpet_tf.export.showing import figure_row, milliseconds, parity_line, ratio_of, stage_row
from lrpet_tf.export.stages import STAGE_COLUMNS, Stage, worst
from lrpet_tf.files import write_atomically
from lrpet_tf.litert import FileMetadata
from lrpet_tf.report import kilobytes, megas, render


@dataclasses.dataclass(frozen=True)
class FileFigures:
    """The figures of one exported model.

    Attributes:
        size_bytes: Size of the `.tflite` file.
        macs: Multiply-accumulates for one sample; `None` where they cannot be counted.
        params: Weights of convolutions and Dense layers; `None` where they cannot be counted.
        latency_ms: Median latency of one sample in milliseconds; `None` where it was not measured.
        arena_bytes: Memory for the values between the operators: see `lrpet_tf.litert.arena_bytes`; `None` where it is unknown.
    """

    size_bytes: int
    macs: int | None
    params: int | None
    latency_ms: float | None
    arena_bytes: int | None = None


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """What `export_tflite` wrote and measured. Printing it shows a table.

    Attributes:
        path: The file.
        quantize: As given.
        samples: Number of samples that the outputs were compared on.
        random_samples: Whether these were random numbers, since none were given.
        parity: Agreement of the file with the Keras model that was exported, one entry an output.
        reference_parity: Agreement of the file with the reference model, or empty.
        exported: Figures of the file.
        reference: The same for the reference model, converted in the same way; `None` without one.
        threads: Threads that the latency was measured with.
        stages: Agreement and accuracy stage by stage: the reference model, the Keras model, the file in float32, the file.
        audit: The operators of the file.
        calibration_samples: Number of samples that the ranges of integers were taken from; 0 where none were needed.
        excluded: Paths of the layers that were left in floating values as asked for.
        metadata: What the file tells about itself; `None` where it tells nothing.
        pairs: Some values of the first output, by the Keras model and by the file, for a plot.
    """

    path: str
    quantize: str | None
    samples: int
    random_samples: bool
    parity: tuple[OutputParity, ...]
    reference_parity: tuple[OutputParity, ...]
    exported: FileFigures
    reference: FileFigures | None
    threads: int
    stages: tuple[Stage, ...] = ()
    audit: Audit | None = None
    calibration_samples: int = 0
    excluded: tuple[str, ...] = ()
    metadata: FileMetadata | None = None
    pairs: tuple[tuple[float, float], ...] = dataclasses.field(default=(), repr=False)

    @property
    def max_difference(self) -> float:
        """Largest absolute difference to the Keras model, over all outputs."""
        return max(output.max_difference for output in self.parity)

    @property
    def relative_difference(self) -> float:
        """Largest difference to the Keras model as a share of the largest output."""
        return max(output.relative_difference for output in self.parity)

    @property
    def cosine(self) -> float:
        """Smallest cosine to the Keras model, over all outputs."""
        return min(output.cosine for output in self.parity)

    @property
    def top1_agreement(self) -> float | None:
        """Smallest share of equal decisions, over the outputs that have several classes."""
        return worst(self.parity)["top1_agreement"]

    @property
    def sqnr_db(self) -> float:
        """Smallest ratio of signal to noise against the Keras model in dB, over all outputs."""
        return min(output.sqnr_db for output in self.parity)

    @property
    def accuracy(self) -> float | None:
        """Share of the labels that the file gets right, or `None` without labels."""
        return self.stages[-1].accuracy if self.stages else None

    @property
    def accuracy_drop(self) -> float | None:
        """What was lost of the accuracy since the first stage, or `None` without labels."""
        return None if self.accuracy is None else self.stages[0].accuracy - self.accuracy

    @property
    def size_bytes(self) -> int:
        """Size of the file."""
        return self.exported.size_bytes

    @property
    def size_ratio(self) -> float | None:
        """Size of the file over that of the reference model's."""
        return None if self.reference is None else ratio_of(self.exported.size_bytes, self.reference.size_bytes)

    @property
    def latency_ratio(self) -> float | None:
        """Median latency over that of the reference model, measured in turns; under 1 is faster."""
        return None if self.reference is None else ratio_of(self.exported.latency_ms, self.reference.latency_ms)

    @property
    def arena_ratio(self) -> float | None:
        """Memory for values over that of the reference model's file."""
        return None if self.reference is None else ratio_of(self.exported.arena_bytes, self.reference.arena_bytes)

    def to_dict(self) -> dict:
        """Returns the report as plain values, for JSON; figures that are not finite, as of equal outputs, are `None`."""
        names = ("size_ratio", "latency_ratio", "arena_ratio", "max_difference", "relative_difference", "cosine")
        more = {name: getattr(self, name) for name in (*names, "sqnr_db", "top1_agreement", "accuracy", "accuracy_drop")}
        values = dataclasses.asdict(self)
        del values["pairs"]
        return _plain({**values, **more})

    def save(self, path: str | os.PathLike) -> None:
        """Writes the report to a file, whole or not at all.

        Args:
            path: The suffix chooses the form: `.json`, `.html`, a page with plots that needs no other file, or `.txt`.

        Raises:
            ExportError: The suffix is another.
            MissingExtraError: matplotlib is not installed, and the page has plots.
            OSError: The file cannot be written; nothing is left behind then.
        """
        path = pathlib.Path(path)
        if path.suffix.lower() not in _FORMS:
            raise ExportError(f"A report is saved as one of {', '.join(_FORMS)}. Received: path='{path}'")
        write_atomically(path, _FORMS[path.suffix.lower()](self).encode())

    def to_html(self) -> str:
        """Returns the report as one page with plots; see `save`."""
        return page(self)

    def __str__(self) -> str:
        """Returns the report as text."""
        title = f"{self.path} ({self.quantize or 'float32'})"
        table = render(title, ("", "reference", "exported", "ratio"), self.figure_rows())
        parts = [table, *self.parity_lines()]
        if len(self.stages) > 1:
            parts += ["", render("Stage by stage, each against the one before", STAGE_COLUMNS, self.stage_rows())]
        return "\n".join([*parts, *self._facts()])

    def figure_rows(self) -> list[tuple[str, str, str, str]]:
        """Returns size, costs and latency as text: what it is, the reference model's, the file's, and the ratio."""
        before, after = self.reference, self.exported
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        return [
            figure_row(title, show, getattr(after, name), before and getattr(before, name))
            for title, show, name in (
                ("file size", kilobytes, "size_bytes"),
                ("multiply-accumulates", megas, "macs"),
                ("weights", megas, "params"),
                (f"latency, {threads}", milliseconds, "latency_ms"),
                ("memory for values", kilobytes, "arena_bytes"),
            )
        ]

    def stage_rows(self) -> list[tuple[str, ...]]:
        """Returns the stages as text, in the columns of `STAGE_COLUMNS`."""
        return [stage_row(stage) for stage in self.stages]

    def parity_lines(self) -> list[str]:
        """Returns the agreement of the file with the Keras model, and with the reference, as lines of text."""
        what = f"{self.samples} {'random ' if self.random_samples else ''}sample{'s' * (self.samples > 1)}"
        lines = [parity_line(f"against the Keras model on {what}", self.parity)]
        if self.reference_parity:
            lines.append(parity_line(f"against the reference on {what}", self.reference_parity))
        return lines

    def _facts(self) -> list[str]:
        lines = [] if self.audit is None else self.audit.lines()
        if self.calibration_samples:
            lines.append(f"calibrated on {self.calibration_samples} samples")
        if self.excluded:
            lines.append(f"left in floating values: {', '.join(self.excluded)}")
        return lines


def _plain(value):
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value


_FORMS = {
    ".json": lambda report: json.dumps(report.to_dict(), indent=1),
    ".html": lambda report: report.to_html(),
    ".txt": str,
}
