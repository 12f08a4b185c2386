"""Making a plan: reading the graph, choosing the ranks, leaving dense what would not become cheaper."""

import functools
from collections.abc import Mapping, Sequence

import keras
import numpy as np

from lrpet_tf import adapters as table
from lrpet_tf import decompositions, ranks
from lrpet_tf.adapters import Adapter, KernelAdapter
from lrpet_tf.costs import Cost, chain_cost, layer_cost
from lrpet_tf.decompositions import Decomposition
from lrpet_tf.errors import BudgetError, NothingToFactorizeError
from lrpet_tf.graph import BatchNormFinder, read_graph
from lrpet_tf.linalg import resolve_rank
from lrpet_tf.plan import LayerPlan, Plan, SkippedLayer
from lrpet_tf.ranks import ByPattern, Candidate, Choice, Dense, Form, Problem, RankRule
from lrpet_tf.report import megas, track


def make_plan(
    model: keras.Model,
    rank: float | int | str | RankRule | Mapping[str, float | int | str | RankRule] | None = None,
    *,
    decomposition: str = "channel",
    include: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    keep_if_no_gain: bool = False,
    adapters: Mapping[type, Adapter] | None = None,
) -> Plan:
    """Decides what becomes of each layer of a model.

    Args:
        model: A built model: Functional, Sequential, or subclassed. Models and layers in it are entered. It is not changed.
        rank: A share of each layer's full rank as a float in (0, 1], a rank as an int, a rule such as `Energy(0.95)`,
            `MacsBudget(0.5)` or `LatencyBudget(0.7)`, or a dict of layer-path patterns to any of these, of which the first
            that matches counts. `None` takes the ranks declared by `LRPETConv2D` and `LRPETDense` layers. A text is read as
            what it would be in Python: `"MacsBudget(0.5)"`.
        decomposition: `"channel"`, `"input_channel"`, `"spatial"` or `"tucker2"`, or `"auto"` to choose the form layer by layer
            as well, at equal cost by the energy kept.
        include: Patterns of the layers to plan; all by default. A pattern is a regular expression that must match a whole
            layer path.
        exclude: Patterns of layers to leave as they are.
        keep_if_no_gain: Whether to factorize layers that would not save multiply-accumulates at their rank; for an Embedding,
            which has none, it is weights that count.
        adapters: Adapters of layers of your own that hold a kernel, by class: see docs/adapters.md.

    Returns:
        The plan.

    Raises:
        RankError: A rank is out of range; the message names the layer where the layer sets the limit.
        BudgetError: A budget cannot be reached; the message states the least that can be.
        PatternError: A pattern matches no layer, or none that can be factorized.
        UnsupportedModelError: The model is not built, or its code cannot be run on symbols.
        LowRankError: `rank` is `None` and no layer declares one, or `adapters` is no table of adapters.
    """
    rule = ranks.get(rank)
    options = {"decomposition": decomposition, "include": include, "exclude": exclude, "keep_if_no_gain": keep_if_no_gain}
    return Planner(model, rule=rule, adapters=adapters, **options).plan(rule)


def check_reachable(model: keras.Model, rank, **options) -> None:
    """Checks all of a rank and its options that does not depend on the weights, and raises what `make_plan` would.

    Args:
        model: The model.
        rank: As in `make_plan`.
        **options: The options of `make_plan`.

    Raises:
        LowRankError: What `make_plan` raises.
        NothingToFactorizeError: No layer would become cheaper.
    """
    rule = ranks.get(rank)
    chosen = ranks.as_chosen(rule.choose(Planner(model, rule=rule, flat=True, **options).problem))
    if all(isinstance(choice, Dense) for choice in chosen.choices.values()):
        raise NothingToFactorizeError("no layer would become cheaper at any weights")


def spectra(model: keras.Model, plan: Plan) -> dict[str, np.ndarray]:
    """Returns the singular values of the planned kernels as they are now, each as its batch norm scales it.

    Args:
        model: The model.
        plan: A plan for it.

    Returns:
        By path, singular values in float64, the largest first.

    Raises:
        PlanMismatchError: The plan was made for another model.
        NonFiniteKernelError: A kernel holds NaN or infinity.
    """
    layers = plan.resolve(model)
    found = {}
    for planned in track(plan.layers, "Reading kernels"):
        scale = None if planned.batch_norm is None else layers[planned.batch_norm]
        form = decompositions.get(planned.decomposition)
        found[planned.path] = _spectrum(planned.path, layers[planned.path], scale, form, plan.adapters)
    return found


def _as_choice(choice, candidate: Candidate) -> Choice | Dense:
    if isinstance(choice, (Choice, Dense)):
        return choice
    form = candidate.forms[0]
    return Choice(form.name, resolve_rank(int(choice), form.full_rank, candidate.path))


def _spectrum(path: str, layer, batch_norm_layer, form: Decomposition, extra: Mapping[type, Adapter]) -> np.ndarray:
    kernel, gain = table.read_kernel(path, layer, batch_norm_layer, extra)
    return form.spectrum(kernel, gain, groups=table.find(layer, extra).groups(layer))


class Planner:
    """Reads a model once, and makes the plans of any number of rules.

    Args:
        model: See `make_plan`, as for the other arguments.
        rule: A rule whose patterns are checked, or `None`.
        decomposition: See `make_plan`.
        include: See `make_plan`.
        exclude: See `make_plan`.
        keep_if_no_gain: See `make_plan`.
        adapters: See `make_plan`.
        flat: Whether to take all spectra as flat instead of reading them: enough to tell what is possible at all.

    Raises:
        PatternError: A pattern matches no layer, or none that can be factorized.
        UnsupportedModelError: The model is of another kind, or not built.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        rule: RankRule | None = None,
        decomposition: str = "channel",
        include: str | Sequence[str] | None = None,
        exclude: str | Sequence[str] | None = None,
        keep_if_no_gain: bool = False,
        adapters: Mapping[type, Adapter] | None = None,
        flat: bool = False,
    ):
        self._extra = table.check_adapters(adapters)
        self._keep_if_no_gain = keep_if_no_gain
        self._model, self._flat = model, flat
        decompositions.choices(decomposition)  # a bad name is told at once
        self._decomposition = decomposition
        self._graph = read_graph(model, self._extra)
        self._all = self._graph.layers()
        self._layers = {path: layer for path, layer in self._all.items() if self._concerns(layer) or path in self._graph.unseen}
        self._ties = table.ties(self._all, self._extra)
        self._reasons = {path: self._why_unsupported(path) for path in self._layers}
        finder = BatchNormFinder(self._graph)
        self._following = {
            path: finder.find(layer, self._adapter(layer))
            for path, layer in self._layers.items()
            if self._reasons[path] is None
        }
        self._select(rule, include, exclude)

    def _adapter(self, layer) -> KernelAdapter:
        return table.find(layer, self._extra)

    def _concerns(self, layer) -> bool:
        """Returns whether a layer is listed in a plan: it is of a family that we know, or holds a matrix of weights."""
        return self._adapter(layer) is not None or table.holds_matrix(layer)

    def _why_unsupported(self, path: str) -> str | None:
        """Returns why a layer cannot be factorized, or not where it stands, or `None` where it can."""
        if path in self._graph.unseen:
            return f"what is inside could not be read ({self._graph.unseen[path]})"
        layer = self._layers[path]
        reason = table.why_unsupported(layer, self._extra)
        places = {tuple(map(id, call.within)): call.within for call in self._graph.calls_of(layer)}
        if reason is None and len(places) > 1:
            reason = "it is shared between layers that are made of layers"
        if reason is None and path in self._ties:
            reason = f"its weights are tied to those of {', '.join(map(repr, self._ties[path]))}"
        if reason is None:
            (within,) = places.values()
            reason = table.why_not_inside(layer, within, self._adapter(layer))
        return reason

    def _select(self, rule: RankRule | None, include, exclude) -> None:
        """Leaves out what the user's patterns leave out."""
        included, excluded = ranks.as_patterns(include), ranks.as_patterns(exclude)
        ranks.check_patterns("include", included, self._reasons, usable=True)
        ranks.check_patterns("exclude", excluded, self._reasons, usable=False)
        if isinstance(rule, ByPattern):
            ranks.check_patterns("rank", tuple(rule.rules), self._reasons, usable=True)
        if include is not None:
            self._leave_out(included, "not in `include`", matching=False)
        self._leave_out(excluded, "in `exclude`", matching=True)

    def _leave_out(self, patterns: Sequence[str], reason: str, *, matching: bool) -> None:
        for path, known in self._reasons.items():
            if known is None and any(ranks.matches(pattern, path) for pattern in patterns) == matching:
                self._reasons[path] = reason

    @functools.cached_property
    def problem(self) -> Problem:
        """What a rule decides on."""
        free = [path for path, reason in self._reasons.items() if reason is None]
        others = {path: self._dense(path) for path in self._layers if self._reasons[path] is not None}
        return Problem(self._model, self._graph, tuple(map(self._candidate, free)), others)

    def _dense(self, path: str) -> Cost:
        layer = self._layers[path]
        counted = table.find_counted(layer, self._extra)
        return Cost(0, 0) if counted is None else layer_cost(layer, counted, self._graph.calls_of(layer))

    def _candidate(self, path: str) -> Candidate:
        layer = self._layers[path]
        adapter = self._adapter(layer)
        choices = decompositions.choices(self._decomposition, adapter.hwio_shape(layer))
        forms = tuple(self._form(path, form) for form in choices)
        return Candidate(path, layer, adapter, self._dense(path), forms, adapter.declared_rank(layer))

    def _form(self, path: str, form: Decomposition) -> Form:
        layer = self._layers[path]
        adapter, calls = self._adapter(layer), self._graph.calls_of(layer)
        shape, groups = adapter.hwio_shape(layer), adapter.groups(layer)
        full_rank = form.max_rank(shape, groups)

        def read_spectrum() -> np.ndarray:
            return np.ones(full_rank) if self._flat else _spectrum(path, layer, self._batch_norm(path), form, self._extra)

        @functools.cache
        def cost(rank: int) -> Cost:
            shapes = form.factor_shapes(shape, rank, groups)
            return chain_cost(layer, adapter, calls, shapes, self._extra_params(layer, shapes))

        return Form(form.name, full_rank, cost, read_spectrum)

    def _extra_params(self, layer, shapes) -> int:
        own = self._adapter(layer).extra_params(layer, shapes)
        (within, *_) = (call.within for call in self._graph.calls_of(layer))
        composite = table.find_composite(within[0]) if len(within) == 1 else None
        return own if composite is None else own + composite.extra_params(within[0], layer, shapes)

    def _linked(self, chosen: dict[str, Choice | Dense]) -> dict[str, Choice | Dense]:
        """Returns what was chosen, with the least of the ranks where ranks must be equal."""
        paths = {id(layer): path for path, layer in self._all.items()}
        for layer in self._all.values():
            parts = [paths[id(part)] for part in table.linked(layer)]
            choices = [chosen.get(path) for path in parts]
            dense = [choice for choice in choices if not isinstance(choice, Choice)]
            if parts and dense:
                why = Dense(f"its rank is that of {' and '.join(map(repr, parts))}, not all of which have one")
                chosen |= {path: why for path, choice in zip(parts, choices, strict=True) if isinstance(choice, Choice)}
            elif parts:
                chosen |= dict.fromkeys(parts, min(choices, key=lambda choice: choice.rank))
        return chosen

    def _batch_norm(self, path: str):
        found = self._following[path].batch_norm
        return None if found is None else self._all[found]

    def read_spectra(self) -> None:
        """Reads the spectra of all candidates, with a progress bar where that takes long; rules then find them read."""
        for form in track([form for candidate in self.problem.candidates for form in candidate.forms], "Reading kernels"):
            form.read()

    def attempt(self, rule: RankRule) -> Plan | BudgetError:
        """Returns the plan of a rule, or the error that tells what the least is that a budget can reach."""
        try:
            return self.plan(rule)
        except BudgetError as error:
            return error

    def plan(self, rule: RankRule) -> Plan:
        """Returns the plan of what a rule chooses; what does not save is left dense.

        Args:
            rule: The rule.

        Raises:
            LowRankError: See `make_plan`.
        """
        if rule.reads_weights:
            self.read_spectra()
        made = ranks.as_chosen(rule.choose(self.problem))
        candidates = {candidate.path: candidate for candidate in self.problem.candidates}
        chosen = {path: _as_choice(choice, candidates[path]) for path, choice in made.choices.items() if path in candidates}
        chosen = self._linked(chosen)
        planned, skipped = [], []
        for path, layer in self._layers.items():
            reason = self._reasons[path]
            if reason is None:
                choice = chosen.get(path, Dense("no rank was chosen for it"))
                found = self._decide(candidates[path], choice)
                if isinstance(found, LayerPlan):
                    planned.append(found)
                    continue
                reason = found
            dense = self._dense(path)
            skipped.append(SkippedLayer(path, type(layer).__name__, reason, dense.macs, dense.params))
        return Plan(tuple(planned), tuple(skipped), made.note, self._extra)

    def _decide(self, candidate: Candidate, choice: Choice | Dense) -> LayerPlan | str:
        if isinstance(choice, Dense):
            return choice.reason
        form = next(form for form in candidate.forms if form.name == choice.form)
        low, dense = form.cost(choice.rank), candidate.dense
        if not (self._keep_if_no_gain or choice.weighed or ranks.is_cheaper(low, dense)):
            return f"no gain: {megas(low.macs)} multiply-accumulates at rank {choice.rank}, {megas(dense.macs)} dense"
        following = self._following[candidate.path]
        return LayerPlan(
            path=candidate.path,
            layer_type=type(candidate.layer).__name__,
            kernel_shape=self._adapter(candidate.layer).hwio_shape(candidate.layer),
            decomposition=form.name,
            rank=choice.rank,
            full_rank=form.full_rank,
            batch_norm=following.batch_norm,
            reason=following.reason,
            macs=dense.macs,
            low_rank_macs=low.macs,
            params=dense.params,
            low_rank_params=low.params,
            energy_kept=float(1 - form.energy_lost[choice.rank]) if form.was_read else None,
        )
