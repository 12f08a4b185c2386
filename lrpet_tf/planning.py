"""Making a plan: reading the graph, choosing the ranks, leaving dense what would not become cheaper."""

from collections.abc import Mapping, Sequence

import keras
import numpy as np
from keras import ops

from lrpet_tf import adapters, decompositions, ranks
from lrpet_tf.costs import Cost, chain_cost, layer_cost
from lrpet_tf.decompositions import Decomposition
from lrpet_tf.errors import LowRankError, NonFiniteKernelError
from lrpet_tf.graph import BatchNormFinder, Graph, read_graph
from lrpet_tf.plan import LayerPlan, Plan, SkippedLayer
from lrpet_tf.ranks import Candidate, RankRule
from lrpet_tf.report import megas


def make_plan(
    model: keras.Model,
    rank: float | int | RankRule | Mapping[str, float | int | RankRule] | None = None,
    *,
    decomposition: str = "channel",
    include: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    keep_if_no_gain: bool = False,
) -> Plan:
    """Decides what becomes of each layer of a model.

    Args:
        model: A built Functional or Sequential model; models nested in it are entered. It is not changed.
        rank: A share of each layer's full rank as a float in (0, 1], a rank as an int, a rule of `lrpet_tf.ranks`, or a
            dict of layer-path patterns to any of these, of which the first that matches counts. `None` takes the ranks
            declared by `LRPETConv2D` and `LRPETDense` layers.
        decomposition: `"channel"`.
        include: Patterns of the layers to plan; all by default. A pattern is a regular expression that must match a whole
            layer path.
        exclude: Patterns of layers to leave as they are.
        keep_if_no_gain: Whether to factorize layers that would not save multiply-accumulates at their rank.

    Returns:
        The plan.

    Raises:
        RankError: A rank is out of range; the message names the layer where the layer sets the limit.
        PatternError: A pattern matches no layer, or none that can be factorized.
        UnsupportedModelError: The model is of another kind, or not built.
        LowRankError: `rank` is `None` and no layer declares one.
    """
    chosen_form = decompositions.get(decomposition)
    rule = ranks.get(rank)
    graph = read_graph(model)
    layers = {path: layer for path, layer in graph.layers().items() if _concerns(layer)}
    included, excluded = ranks.as_patterns(include), ranks.as_patterns(exclude)
    reasons = {path: adapters.why_unsupported(layer) for path, layer in layers.items()}
    ranks.check_patterns("include", included, reasons, usable=True)
    ranks.check_patterns("exclude", excluded, reasons, usable=False)
    if isinstance(rank, Mapping):
        ranks.check_patterns("rank", tuple(rank), reasons, usable=True)
    if include is not None:
        _leave_out(reasons, included, "not in `include`", matching=False)
    _leave_out(reasons, excluded, "in `exclude`", matching=True)

    candidates = [_candidate(path, layers[path], chosen_form) for path, reason in reasons.items() if reason is None]
    chosen = rule.choose(candidates)
    if rank is None and not chosen:
        raise LowRankError(
            "No rank was given and no layer declares one: pass rank=0.5, say, or build layers as LRPETConv2D(…, rank=0.5). "
            "Received: rank=None"
        )
    return _assemble(graph, layers, reasons, chosen, chosen_form, keep_if_no_gain)


def _concerns(layer) -> bool:
    """Returns whether a layer is listed in a plan: it is of a family that we know, or holds a matrix of weights."""
    return adapters.find(layer) is not None or adapters.holds_matrix(layer)


def _leave_out(reasons: dict, patterns: Sequence[str], reason: str, *, matching: bool) -> None:
    for path, known in reasons.items():
        if known is None and any(ranks.matches(pattern, path) for pattern in patterns) == matching:
            reasons[path] = reason


def _candidate(path: str, layer, form: Decomposition) -> Candidate:
    adapter = adapters.find(layer)

    def read_spectrum() -> np.ndarray:
        kernel = adapter.to_hwio(ops.convert_to_numpy(adapter.kernel(layer)))
        if not np.all(np.isfinite(kernel)):
            raise NonFiniteKernelError(path)
        return form.spectrum(kernel)

    return Candidate(path, form.max_rank(adapter.hwio_shape(layer)), adapter.declared_rank(layer), read_spectrum)


def _assemble(graph: Graph, layers, reasons, chosen, form: Decomposition, keep_if_no_gain: bool) -> Plan:
    finder = BatchNormFinder(graph)
    planned, skipped = [], []
    for path, layer in layers.items():
        adapter, counted = adapters.find(layer), adapters.find_counted(layer)
        dense = layer_cost(layer, counted, graph.calls_of(layer)) if counted is not None else Cost(0, 0)
        reason = reasons[path]
        if reason is None and path not in chosen:
            reason = "no rank was chosen for it"
        if reason is None:
            shape = adapter.hwio_shape(layer)
            low = chain_cost(layer, adapter, graph.calls_of(layer), form.factor_shapes(shape, chosen[path]))
            if keep_if_no_gain or _saves(low, dense):
                following = finder.find(layer, adapter)
                planned.append(
                    LayerPlan(
                        path=path,
                        layer_type=type(layer).__name__,
                        kernel_shape=shape,
                        decomposition=form.name,
                        rank=chosen[path],
                        full_rank=form.max_rank(shape),
                        batch_norm=following.batch_norm,
                        reason=following.reason,
                        macs=dense.macs,
                        low_rank_macs=low.macs,
                        params=dense.params,
                        low_rank_params=low.params,
                    )
                )
                continue
            reason = f"no gain: {megas(low.macs)} multiply-accumulates at rank {chosen[path]}, {megas(dense.macs)} dense"
        skipped.append(SkippedLayer(path, type(layer).__name__, reason, dense.macs, dense.params))
    return Plan(tuple(planned), tuple(skipped))


def _saves(low: Cost, dense: Cost) -> bool:
    # Where the sizes are unknown, the weights decide: every factor of a chain then works at the same positions.
    return low.params < dense.params if dense.macs is None or low.macs is None else low.macs < dense.macs
