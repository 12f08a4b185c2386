"""Measured latency: a table of what layers take on one device, dense and at several ranks."""

import dataclasses
import json
from collections.abc import Mapping

import keras

from lrpet_tf.costs.micro import calls_by_path, entry_key, model_key
from lrpet_tf.errors import LowRankError
from lrpet_tf.files import JsonFile
from lrpet_tf.graph import Graph, read_graph
from lrpet_tf.report import render

_FORMAT = "lrpet_tf latency table 1"


@dataclasses.dataclass(frozen=True)
class LatencyTable(JsonFile):
    """Median latencies of the layers of one or several models on one device. Printing it shows a table.

    Made by `measure_latency` on this machine, or by `tools/latency_models.py` from the results of another device.

    Attributes:
        device: The device, in words.
        quantize: `None` for float32, or `"int8"`.
        threads: Threads of the interpreter.
        milliseconds: Median latency of one sample by key: layers dense and at several ranks, and whole dense models.
    """

    device: str
    quantize: str | None
    threads: int
    milliseconds: Mapping[str, float] = dataclasses.field(repr=False)

    def predict(self, model: keras.Model, plan: Mapping | None = None) -> float:
        """Predicts the latency of a model once it is factorized: what the dense model takes, and what its layers gain.

        Args:
            model: The dense model.
            plan: A plan for it; by default none of its layers is factorized. A rank that was not measured counts as the next
                one above it that was, or as dense where there is none: latency is a staircase.

        Returns:
            Milliseconds for one sample.

        Raises:
            LowRankError: The table was not measured for this model.
        """
        graph = read_graph(model, getattr(plan, "adapters", None))
        total, keys = self.model_ms(graph, model.name), calls_by_path(graph)
        for path in plan or ():
            for key in keys.get(path, ()):
                total += self.layer_ms(key, plan[path].decomposition, plan[path].rank) - self.layer_ms(key)
        return total

    def model_ms(self, graph: Graph, name: str) -> float:
        """Returns the latency of a whole dense model, given by its graph, in milliseconds; its name is for the message."""
        return self._find(model_key(graph), f"model '{name}'")

    def layer_ms(self, key: str, form: str | None = None, rank: int | None = None) -> float:
        """Returns the latency of a layer in milliseconds, dense or in one form; see `predict` for ranks between the measured.

        Args:
            key: Key of the layer: see `lrpet_tf.costs.layer_key`.
            form: Name of the decomposition, or `None` for the dense layer.
            rank: The rank.
        """
        if form is not None:
            above = [measured for measured in self.ranks(key, form) if measured >= rank]
            form, rank = (form, above[0]) if above else (None, None)
        return self._find(entry_key(key, form, rank), f"a layer {key}")

    def ranks(self, key: str, form: str) -> list[int]:
        """Returns the ranks that were measured for a layer in one form, ascending."""
        prefix = f"{key}/{form}-"
        return sorted(int(entry.removeprefix(prefix)) for entry in self.milliseconds if entry.startswith(prefix))

    def _find(self, key: str, what: str) -> float:
        if key not in self.milliseconds:
            raise LowRankError(
                f"The latency table of '{self.device}' does not hold {what}. Measure it for this model: with "
                "lrpet_tf.measure_latency(model) on this machine, or with tools/latency_models.py on another device."
            )
        return self.milliseconds[key]

    def merged(self, milliseconds: Mapping[str, float]) -> "LatencyTable":
        """Returns a table with more entries, or newer ones."""
        return dataclasses.replace(self, milliseconds={**self.milliseconds, **milliseconds})

    def to_json(self) -> str:
        """Returns the table as JSON; `LatencyTable.from_json` reads it."""
        return json.dumps({"format": _FORMAT, **dataclasses.asdict(self)}, indent=1)

    @classmethod
    def from_json(cls, text: str | bytes) -> "LatencyTable":
        """Reads what `to_json` wrote.

        Args:
            text: JSON.

        Returns:
            An equal table.

        Raises:
            LowRankError: The text is not a latency table.
        """
        try:
            content = json.loads(text)
            if content.pop("format") != _FORMAT:
                raise ValueError(f"its format is not {_FORMAT!r}")
            content["milliseconds"] = {key: float(value) for key, value in content["milliseconds"].items()}
            return cls(**content)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LowRankError(f"This is not a table saved by LatencyTable.save: {error!r}") from error

    def __str__(self) -> str:
        """Returns the latencies as text, a layer a row: dense, and each rank as a share of it."""
        by_layer: dict[str, dict[str, float]] = {}
        for entry, value in self.milliseconds.items():
            key, form = entry.rsplit("/", 1)
            by_layer.setdefault(key, {})[form] = value
        rows = []
        for key, forms in by_layer.items():
            dense = forms.pop("dense", None)
            shares = (f"{form.rsplit('-', 1)[1]}: {ms / dense:.2f}" for form, ms in forms.items()) if dense else ()
            rows.append((key, ", ".join(shares), "?" if dense is None else f"{dense:.3f} ms"))
        title = f"Latency on {self.device}, {self.quantize or 'float32'}, {self.threads} thread{'s' * (self.threads > 1)}"
        return render(title, ("layer", "rank: share of dense", "dense"), rows, text_columns=2)
