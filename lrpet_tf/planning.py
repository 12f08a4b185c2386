"""Making a plan: reading the graph, choosing the ranks, leaving dense what would not become cheaper."""

import functools
from collections.abc import Mapping, Sequence

import keras
import numpy as np

from lrpet_tf import adapters, decompositions, ranks
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
) -> Plan:
    """Decides what becomes of each layer of a model.

    Args:
        model: A built Functional or Sequential model; models nested in it are entered. It is not changed.
        rank: A share of each layer's full rank as a float in (0, 1], a rank as an int, a rule such as `Energy(0.95)`,
            `MacsBudget(0.5)` or `LatencyBudget(0.7)`, or a dict of layer-path patterns to any of these, of which the first
            that matches counts. `None` takes the ranks declared by `LRPETConv2D` and `LRPETDense` layers. A text is read as
            what it would be in Python: `"MacsBudget(0.5)"`.
        decomposition: `"channel"`, or `"auto"` to choose the form layer by layer as well.
        include: Patterns of the layers to plan; all by default. A pattern is a regular expression that must match a whole
            layer path.
        exclude: Patterns of layers to leave as they are.
        keep_if_no_gain: Whether to factorize layers that would not save multiply-accumulates at their rank.

    Returns:
        The plan.

    Raises:
        RankError: A rank is out of range; the message names the layer where the layer sets the limit.
        BudgetError: A budget cannot be reached; the message states the least that can be.
        PatternError: A pattern matches no layer, or none that can be factorized.
        UnsupportedModelError: The model is of another kind, or not built.
        LowRankError: `rank` is `None` and no layer declares one.
    """
    rule = ranks.get(rank)
    options = {"decomposition": decomposition, "include": include, "exclude": exclude, "keep_if_no_gain": keep_if_no_gain}
    return Planner(model, rule=rule, **options).plan(rule)


def check_reachable(model: keras.Model, rank, **options) -> None:
    """Checks all of a rank and its options that does not depend on the weights, and raises what `make_plan` would.

    Args:
        model: The model.
        rank: As in `make_plan`.
        **options: `decomposition`, `include`, `exclude` and `keep_if_no_gain` of `make_plan`.

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
        found[planned.path] = _spectrum(planned.path, layers[planned.path], scale, form)
    return found


def _as_choice(choice, problem: Problem, path: str) -> Choice | Dense:
    if isinstance(choice, (Choice, Dense)):
        return choice
    form = next(each for each in problem.candidates if each.path == path).forms[0]
    return Choice(form.name, resolve_rank(int(choice), form.full_rank, path))


def _spectrum(path: str, layer, batch_norm_layer, form: Decomposition) -> np.ndarray:
    return form.spectrum(*adapters.read_kernel(path, layer, batch_norm_layer))


class Planner:
    """Reads a model once, and makes the plans of any number of rules.

    Args:
        model: See `make_plan`, as for the other arguments.
        rule: A rule whose patterns are checked, or `None`.
        decomposition: See `make_plan`.
        include: See `make_plan`.
        exclude: See `make_plan`.
        keep_if_no_gain: See `make_plan`.
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
        flat: bool = False,
    ):
        self._keep_if_no_gain = keep_if_no_gain
        self._model, self._flat = model, flat
        self._forms = decompositions.choices(decomposition)
        self._graph = read_graph(model)
        self._all = self._graph.layers()
        self._layers = {path: layer for path, layer in self._all.items() if _concerns(layer)}
        self._reasons = {path: adapters.why_unsupported(layer) for path, layer in self._layers.items()}
        finder = BatchNormFinder(self._graph)
        self._following = {
            path: finder.find(layer, adapters.find(layer))
            for path, layer in self._layers.items()
            if self._reasons[path] is None
        }
        self._select(rule, include, exclude)

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
        counted = adapters.find_counted(layer)
        return Cost(0, 0) if counted is None else layer_cost(layer, counted, self._graph.calls_of(layer))

    def _candidate(self, path: str) -> Candidate:
        layer = self._layers[path]
        forms = tuple(self._form(path, form) for form in self._forms)
        return Candidate(path, layer, self._dense(path), forms, adapters.find(layer).declared_rank(layer))

    def _form(self, path: str, form: Decomposition) -> Form:
        layer = self._layers[path]
        adapter = adapters.find(layer)
        shape, calls = adapter.hwio_shape(layer), self._graph.calls_of(layer)
        full_rank = form.max_rank(shape)

        def read_spectrum() -> np.ndarray:
            return np.ones(full_rank) if self._flat else _spectrum(path, layer, self._batch_norm(path), form)

        @functools.cache
        def cost(rank: int) -> Cost:
            return chain_cost(layer, adapter, calls, form.factor_shapes(shape, rank))

        return Form(form.name, full_rank, cost, read_spectrum)

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
        chosen = {path: _as_choice(choice, self.problem, path) for path, choice in made.choices.items()}
        candidates = {candidate.path: candidate for candidate in self.problem.candidates}
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
        return Plan(tuple(planned), tuple(skipped), made.note)

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
            kernel_shape=adapters.find(candidate.layer).hwio_shape(candidate.layer),
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


def _concerns(layer) -> bool:
    """Returns whether a layer is listed in a plan: it is of a family that we know, or holds a matrix of weights."""
    return adapters.find(layer) is not None or adapters.holds_matrix(layer)
