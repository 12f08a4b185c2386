"""The plan: the only thing that passes between stages.

It says for each layer which decomposition at which rank, which batch norm its kernel is projected with, and what it costs
before and after; and for each layer that is left alone, why.
"""

import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping

import keras

from lrpet_tf import decompositions
from lrpet_tf.adapters import Adapter, KernelAdapter, check_adapters, find
from lrpet_tf.adapters.batch_norm import is_batch_norm
from lrpet_tf.errors import LowRankError, MissingAdapterError, PlanMismatchError, require
from lrpet_tf.files import JsonFile
from lrpet_tf.graph import read_graph
from lrpet_tf.linalg import resolve_rank
from lrpet_tf.report import megas, render

_FORMAT = "lrpet_tf plan 1"


@dataclasses.dataclass(frozen=True)
class LayerPlan:
    """What is to be done with one layer.

    Attributes:
        path: Path of the layer.
        layer_type: Name of its class.
        kernel_shape: Shape of its kernel, `(*spatial sizes, in, out)`: `(kh, kw, in, out)` for images, `(1, 1, in, out)` for a
            matrix; of a grouped one, the input channels of a group.
        decomposition: Name of the decomposition.
        rank: Rank to train and factorize to.
        full_rank: Full rank of the kernel.
        batch_norm: Path of the batch norm whose scale is merged into the kernel when it is projected, or `None`.
        reason: Why that batch norm, or why none.
        macs: Multiply-accumulates for one sample as a dense layer, over all its calls; `None` where a size is unknown.
        low_rank_macs: The same as a chain of factors.
        params: Weights as a dense layer.
        low_rank_params: Weights as a chain of factors.
        energy_kept: Share of the kernel's energy, as its batch norm scales it, that the rank held when the plan was made, in
            [0, 1]; `None` where the rule did not read the weights.
    """

    path: str
    layer_type: str
    kernel_shape: tuple[int, ...]
    decomposition: str
    rank: int
    full_rank: int
    batch_norm: str | None
    reason: str
    macs: int | None
    low_rank_macs: int | None
    params: int
    low_rank_params: int
    energy_kept: float | None = None


@dataclasses.dataclass(frozen=True)
class SkippedLayer:
    """A layer that is left as it is.

    Attributes:
        path: Path of the layer.
        layer_type: Name of its class.
        reason: Why it is left alone.
        macs: Multiply-accumulates for one sample; `None` where a size is unknown, 0 where the type is not counted.
        params: Weights; 0 where the type is not counted.
    """

    path: str
    layer_type: str
    reason: str
    macs: int | None
    params: int


_ROW = tuple(field.name for field in dataclasses.fields(LayerPlan))


def _sum(values) -> int | None:
    values = list(values)
    return None if None in values else sum(values)


@dataclasses.dataclass(frozen=True)
class Plan(JsonFile, Mapping[str, LayerPlan]):
    """Which layers become chains of low rank, and which do not and why. Printing it shows a table.

    It maps the path of each layer to factorize to what is planned for it: `plan["block1/conv"].rank`.

    Attributes:
        layers: The layers to factorize, in the order of the graph.
        skipped: The other layers that hold matrices of weights.
        note: What the rule has reached, in words.
        adapters: The adapters of layers of your own that it was made with; they are not saved with it, so one that was loaded
            gets them from `with_adapters`.
    """

    layers: tuple[LayerPlan, ...]
    skipped: tuple[SkippedLayer, ...]
    note: str = ""
    adapters: Mapping[type, Adapter] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    def __getitem__(self, path: str) -> LayerPlan:
        """Returns what is planned for a layer."""
        return self._by_path[path]

    def __iter__(self) -> Iterator[str]:
        """Iterates over the paths of the planned layers."""
        return iter(self._by_path)

    def __len__(self) -> int:
        """Returns the number of planned layers."""
        return len(self._by_path)

    @functools.cached_property
    def _by_path(self) -> dict[str, LayerPlan]:
        return {layer.path: layer for layer in self.layers}

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates of the dense model for one sample; `None` where a size is unknown."""
        return _sum(layer.macs for layer in (*self.layers, *self.skipped))

    @property
    def low_rank_macs(self) -> int | None:
        """Multiply-accumulates of the factorized model for one sample; `None` where a size is unknown."""
        return _sum([*(layer.low_rank_macs for layer in self.layers), *(layer.macs for layer in self.skipped)])

    @property
    def params(self) -> int:
        """Weights of convolutions and Dense layers of the dense model."""
        return sum(layer.params for layer in (*self.layers, *self.skipped))

    @property
    def low_rank_params(self) -> int:
        """Weights of convolutions and Dense layers of the factorized model."""
        return sum(layer.low_rank_params for layer in self.layers) + sum(layer.params for layer in self.skipped)

    def to_rows(self) -> list[dict]:
        """Returns one dict a layer, the planned ones first and then the skipped ones, all of the same keys.

        The keys are `path`, `factorized` (whether the layer is planned), and the attributes of `LayerPlan`. A skipped layer
        costs the same before and after; what does not concern it is `None`. `reason` says of a planned layer why that batch
        norm, and of a skipped one why it is left alone.
        """
        rows = []
        for layer in (*self.layers, *self.skipped):
            after = {} if layer.path in self else {"low_rank_macs": layer.macs, "low_rank_params": layer.params}
            values = dict.fromkeys(_ROW) | vars(layer) | after
            rows.append({"path": layer.path, "factorized": layer.path in self} | values)
        return rows

    def to_dataframe(self):
        """Returns the rows of `to_rows` as a pandas DataFrame; whole numbers that may be missing are of type `Int64`.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        pandas = require("pandas", "pandas")
        counts = ("rank", "full_rank", "macs", "low_rank_macs", "params", "low_rank_params")
        types = {"factorized": "bool", "energy_kept": "float64"} | dict.fromkeys(counts, "Int64")
        return pandas.DataFrame(self.to_rows(), columns=["path", "factorized", *_ROW[1:]]).astype(types)

    def to_json(self) -> str:
        """Returns the plan as JSON; `Plan.from_json` reads it."""
        content = {name: [dataclasses.asdict(layer) for layer in getattr(self, name)] for name in ("layers", "skipped")}
        return json.dumps({"format": _FORMAT, **content, "note": self.note}, indent=1)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Plan":
        """Reads what `to_json` wrote.

        Args:
            text: JSON.

        Returns:
            An equal plan.

        Raises:
            LowRankError: The text is not a plan.
        """
        try:
            content = json.loads(text)
            if content["format"] != _FORMAT:
                raise ValueError(f"format {content['format']!r}, expected {_FORMAT!r}")
            layers = [LayerPlan(**{**row, "kernel_shape": tuple(row["kernel_shape"])}) for row in content["layers"]]
            return cls(tuple(layers), tuple(SkippedLayer(**row) for row in content["skipped"]), content.get("note", ""))
        except (ValueError, KeyError, TypeError) as error:
            raise LowRankError(f"This is not a plan saved by Plan.save: {error}") from error

    def with_adapters(self, adapters: Mapping[type, Adapter]) -> "Plan":
        """Returns the same plan with other adapters, as a plan needs that was loaded.

        Args:
            adapters: Adapters of layers of your own, by class: see docs/adapters.md.

        Raises:
            LowRankError: This is no table of adapters.
        """
        return dataclasses.replace(self, adapters=check_adapters(adapters))

    def resolve(self, model: keras.Model) -> dict[str, keras.layers.Layer]:
        """Finds the layers that the plan speaks of in a model.

        Args:
            model: The model that the plan was made for, or one of the same architecture.

        Returns:
            Its layers by path, batch norms included.

        Raises:
            PlanMismatchError: A planned layer is missing, or its kernel has another shape, or its adapter was not given.
            RankError: A rank is above the full rank of its layer.
            UnsupportedModelError: The graph of the model cannot be read.
        """
        layers = read_graph(model, self.adapters).layers()
        for planned in self.layers:
            layer = layers.get(planned.path)
            adapter = find(layer, self.adapters) if layer is not None else None
            if layer is not None and adapter is None and type(layer).__name__ == planned.layer_type:
                raise MissingAdapterError(model.name, planned.path, planned.layer_type)
            if not isinstance(adapter, KernelAdapter):
                raise PlanMismatchError(model.name, planned.path, f"no layer of type {planned.layer_type}")
            if adapter.hwio_shape(layer) != planned.kernel_shape:
                why = f"a kernel of shape {adapter.hwio_shape(layer)}, where the plan has {planned.kernel_shape},"
                raise PlanMismatchError(model.name, planned.path, why)
            full_rank = decompositions.get(planned.decomposition).max_rank(planned.kernel_shape, adapter.groups(layer))
            resolve_rank(planned.rank, full_rank, planned.path)
            if planned.batch_norm is not None and not is_batch_norm(layers.get(planned.batch_norm)):
                raise PlanMismatchError(model.name, planned.batch_norm, f"no batch norm for '{planned.path}'")
        return layers

    def __str__(self) -> str:
        """Returns the table of planned layers, with totals, and the table of skipped ones."""
        parts = [_planned_table(self)]
        if self.skipped:
            rows = [
                (layer.path, layer.layer_type, layer.reason, "-" if layer.macs == 0 else megas(layer.macs))
                for layer in self.skipped
            ]
            parts.append(render("Left as they are", ("layer", "type", "reason", "MACs"), rows, text_columns=3))
        return "\n".join(parts)


def _ratio(after: int | None, before: int | None) -> str:
    return "?" if after is None or before is None else f"{after / before:.2f}" if before else "-"


def _planned_table(plan: Plan) -> str:
    energies = any(layer.energy_kept is not None for layer in plan.layers)
    rows = [
        (
            layer.path,
            layer.decomposition,
            layer.batch_norm or f"none: {layer.reason}",
            "×".join(map(str, layer.kernel_shape)),
            f"{layer.rank} of {layer.full_rank}",
            *(("-" if layer.energy_kept is None else f"{layer.energy_kept:.4f}",) if energies else ()),
            megas(layer.macs),
            megas(layer.low_rank_macs),
            _ratio(layer.low_rank_macs, layer.macs),
        )
        for layer in plan.layers
    ]
    footer = (
        f"whole model ({len(plan.layers)} layers factorized)",
        "",
        f"weights {megas(plan.params)} → {megas(plan.low_rank_params)}",
        "",
        "",
        *(("",) if energies else ()),
        megas(plan.macs),
        megas(plan.low_rank_macs),
        _ratio(plan.low_rank_macs, plan.macs),
    )
    kept = ("energy kept",) if energies else ()
    columns = ("layer", "form", "batch norm", "kernel", "rank", *kept, "MACs", "after", "ratio")
    title = f"Low-rank plan\n{plan.note}" if plan.note else "Low-rank plan"
    return render(title, columns, rows, footer=footer, text_columns=3)


def check_plan(plan: Plan) -> Plan:
    """Returns a plan as it is.

    Raises:
        LowRankError: It is something else.
    """
    if not isinstance(plan, Plan):
        raise LowRankError(
            "Expected a plan from lrpet_tf.make_plan(model, rank=…), or from Plan.load for a saved one. "
            f"Received: plan={plan!r}"
        )
    return plan


def attach(model: keras.Model, plan: Plan) -> None:
    """Leaves a plan on a model, where `factorize` finds it; it is not saved with the model."""
    model._lrpet_plan = plan


def attached(model: keras.Model) -> Plan | None:
    """Returns the plan that training left on a model, or `None`."""
    return getattr(model, "_lrpet_plan", None)


def note_source(model: keras.Model, plan: Plan) -> None:
    """Notes on a model the plan that it was factorized by, for what is told about it later."""
    model._lrpet_source_plan = plan


def source_plan(model: keras.Model) -> Plan | None:
    """Returns the plan that a model was factorized by, or `None`."""
    return getattr(model, "_lrpet_source_plan", None)
