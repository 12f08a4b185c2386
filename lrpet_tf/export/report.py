"""What an export did, and the proof that the file is right."""

import dataclasses

from lrpet_tf.export.parity import OutputParity
from lrpet_tf.report import kilobytes, megas, render


@dataclasses.dataclass(frozen=True)
class FileFigures:
    """The figures of one exported model.

    Attributes:
        size_bytes: Size of the `.tflite` file.
        macs: Multiply-accumulates for one sample; `None` where they cannot be counted.
        params: Weights of convolutions and Dense layers; `None` where they cannot be counted.
        latency_ms: Median latency of one sample in milliseconds; `None` where it was not measured.
    """

    size_bytes: int
    macs: int | None
    params: int | None
    latency_ms: float | None


def _ratio(after, before) -> float | None:
    return None if after is None or not before else after / before


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
        return _smallest_agreement(self.parity)

    @property
    def size_bytes(self) -> int:
        """Size of the file."""
        return self.exported.size_bytes

    @property
    def size_ratio(self) -> float | None:
        """Size of the file over that of the reference model's."""
        return None if self.reference is None else _ratio(self.exported.size_bytes, self.reference.size_bytes)

    @property
    def latency_ratio(self) -> float | None:
        """Median latency over that of the reference model, measured in turns; under 1 is faster."""
        return None if self.reference is None else _ratio(self.exported.latency_ms, self.reference.latency_ms)

    def to_dict(self) -> dict:
        """Returns the report as plain values, for JSON."""
        ratios = {name: getattr(self, name) for name in ("size_ratio", "latency_ratio")}
        return {**dataclasses.asdict(self), **ratios}

    def __str__(self) -> str:
        """Returns the report as text."""
        before = self.reference
        rows = [
            _row("file size", kilobytes, self.exported.size_bytes, before and before.size_bytes),
            _row("multiply-accumulates", megas, self.exported.macs, before and before.macs),
            _row("weights", megas, self.exported.params, before and before.params),
            _row(f"latency, {self.threads} thread", _milliseconds, self.exported.latency_ms, before and before.latency_ms),
        ]
        title = f"{self.path} ({self.quantize or 'float32'})"
        table = render(title, ("", "reference", "exported", "ratio"), rows)
        return "\n".join([table, *self._parity_lines()])

    def _parity_lines(self) -> list[str]:
        what = f"{self.samples} {'random ' if self.random_samples else ''}samples"
        lines = [_parity_line(f"against the Keras model on {what}", self.parity)]
        if self.reference_parity:
            lines.append(_parity_line(f"against the reference on {what}", self.reference_parity))
        return lines


def _smallest_agreement(parity: tuple[OutputParity, ...]) -> float | None:
    return min((output.top1_agreement for output in parity if output.top1_agreement is not None), default=None)


def _row(name: str, show, after, before) -> tuple[str, str, str, str]:
    ratio = _ratio(after, before)
    return (
        name,
        "-" if before is None else show(before),
        "-" if after is None else show(after),
        "-" if ratio is None else f"{ratio:.2f}",
    )


def _milliseconds(value: float) -> str:
    return f"{value:.3f} ms"


def _parity_line(what: str, parity: tuple[OutputParity, ...]) -> str:
    worst = max(parity, key=lambda output: output.relative_difference)
    agreement = _smallest_agreement(parity)
    top1 = "" if agreement is None else f", top-1 agreement {100 * agreement:.1f} %"
    return (
        f"{what}: largest difference {worst.max_difference:.2g} ({worst.relative_difference:.1g} of the output scale), "
        f"cosine {min(output.cosine for output in parity):.7f}{top1}"
    )
