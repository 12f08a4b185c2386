"""Rewriting a trained model: each planned layer becomes a chain of small stock layers."""

import functools
import warnings
from collections.abc import Mapping
from typing import NamedTuple

import keras
import numpy as np

from lrpet_tf import adapters as table
from lrpet_tf import decompositions
from lrpet_tf.adapters import Adapter, StockLayer
from lrpet_tf.errors import LowRankError, NothingToFactorizeError
from lrpet_tf.graph import Replacement, carry_compilation, rewrite
from lrpet_tf.linalg import Chain, Factor, compose
from lrpet_tf.plan import LayerPlan, Plan, attached, check_plan, note_source
from lrpet_tf.planning import make_plan
from lrpet_tf.ranks import NumericalRank
from lrpet_tf.report import track

# A kernel whose largest singular value is under this has collapsed (the authors' threshold, arXiv 2204.05566).
_COLLAPSED = 1e-5
# Share of a kernel's norm whose loss is worth a warning: a projected float32 kernel loses about 1e-7 of it.
_NOTICEABLE = 1e-5


def factorize(model: keras.Model, plan: Plan | None = None, *, adapters: Mapping[type, Adapter] | None = None) -> keras.Model:
    """Rewrites a trained model into a smaller one.

    Each planned layer becomes a chain of layers of its rank. The last one keeps the layer's name, bias and activation; the
    others are called `<name>_factor0`, …. Regularizers, constraints, the dtype policy and `trainable` go along. The outputs
    are those of `model` when its kernels are of the planned ranks, as training with `LRPETCallback` leaves them. A layer
    that has collapsed (largest singular value under 1e-5, before and after its batch norm) becomes a constant branch: a
    chain of rank one with zero kernels.

    The layers of a graph become stock Keras layers, so that a Functional or Sequential model, saved as `.keras`, loads without
    this library. Inside a subclassed model, or a layer of your own that is made of layers, a layer can only be replaced by one
    other: there `LowRankConv2D`, `LowRankDense`, or a `FactorChain` of stock layers takes its place, on a copy of the model.
    Such a model is saved by its weights, and loaded into `factorize(fresh_model, plan)`.

    Args:
        model: A built model; models nested in it are rewritten too. It is not changed.
        plan: A plan for it. By default the plan that `LRPETCallback` left on the model, or else each kernel's numerical
            rank.
        adapters: Adapters of layers of your own, by class, where there is no plan that holds them, as one that was loaded: see
            docs/adapters.md.

    Returns:
        A new model of the same class that shares nothing with `model`, compiled as `model` is, with a fresh optimizer.

    Raises:
        LowRankError: A layer of your own cannot be copied from its configuration, or `adapters` is no table of adapters.
        PlanMismatchError: The plan was made for another model, or was loaded without the adapters that it needs.
        UnsupportedModelError: The model is not built, or its code cannot be run on symbols.
        NonFiniteKernelError: A kernel holds NaN or infinity.
        NothingToFactorizeError: No plan was given or left, and no kernel is of low rank.

    Warns:
        UserWarning: Kernels are not of their planned rank, so that the outputs differ; the plan has no layers; or weights that
            the layers of `model` share are separate in the new one.
    """
    given = attached(model) if plan is None else check_plan(plan)
    plan = given if given is not None else make_plan(model, NumericalRank(), adapters=adapters)
    if adapters is not None:
        plan = plan.with_adapters(adapters)
    layers = plan.resolve(model)
    chains = {id(layer): own for path, layer in layers.items() if (own := _own_chain(path, layer)) is not None}
    losses = {}
    linked = {id(part) for layer in layers.values() for part in table.linked(layer)}
    for planned in track(plan.layers, "Factorizing"):
        layer = layers[planned.path]
        chains[id(layer)], losses[planned.path] = _factors(planned, layers, plan.adapters, keep_rank=id(layer) in linked)
    if not chains and given is None:
        raise NothingToFactorizeError("no plan was given, and no kernel is of low rank")
    _warn(chains, losses)
    _warn_of_ties(layers, plan.adapters)
    small = _rewrite(model, layers, chains, plan.adapters)
    carry_compilation(model, small)
    note_source(small, plan)
    return small


class _Factored(NamedTuple):
    """A chain, with the name of its decomposition and its rank."""

    chain: Chain
    form: str
    rank: int


def _rewrite(model: keras.Model, layers: dict, chains: dict[int, _Factored], extra: Mapping[type, Adapter]) -> keras.Model:
    """Puts other layers in the place of those that have a chain, by id."""
    pending = dict(chains)
    taken = {layer.name for layer in (*layers.values(), *model._flatten_layers())}
    stock: list[StockLayer] = []

    def replace(layer: keras.layers.Layer) -> Replacement | None:
        composite = table.find_composite(layer)
        if composite is not None:
            found = {id(part): pending.pop(id(part)).chain for part in layer._flatten_layers() if id(part) in pending}
            if not found:
                return None
            rebuilt = composite.rebuild(layer, found, taken)
            stock.extend(rebuilt.stock)
            return Replacement([made for made, _ in rebuilt.stock], rebuilt.call)
        if id(layer) not in pending:
            return None
        adapter = table.find(layer, extra)
        made = adapter.stock_chain(layer, pending.pop(id(layer)).chain, taken)
        stock.extend(made)
        names = [each for each, _ in made]
        return Replacement(names, functools.partial(adapter.call_chain, names))

    def replace_inside(layer: keras.layers.Layer, holder: keras.layers.Layer) -> keras.layers.Layer | None:
        if id(layer) not in pending:
            return None
        adapter = table.find(layer, extra)
        if table.find_wrapper(holder) is not None:  # its configuration holds that of the layer inside: stock layers stay stock
            made = adapter.stock_chain(layer, pending.pop(id(layer)).chain)
            stock.extend(made)
            return keras.Sequential([each for each, _ in made], name=layer.name)
        chain, form, rank = pending.pop(id(layer))
        if len(chain) == 1:
            made = adapter.stock_chain(layer, chain)
            single = made[0].layer
        else:
            single, made = adapter.embedded(layer, chain, form, rank)
        stock.extend(made)
        return single

    small = rewrite(model, replace, replace_inside)
    for layer, weights in stock:
        layer.set_weights(weights)
    if pending:
        missed = ", ".join(path for path, layer in layers.items() if id(layer) in pending)
        raise LowRankError(f"Layers were to be factorized but were not reached: {missed}. Please report this with the model.")
    return small


def _own_chain(path: str, layer) -> _Factored | None:
    """Returns the chain that a layer of this library stands for."""
    adapter = table.find(layer)
    chain = None if adapter is None else adapter.own_chain(layer)
    if chain is None:
        return None
    why = adapter.why_activation_unsupported(layer)
    if why is not None:
        raise LowRankError(f"Layer '{path}' cannot be made stock layers: {why}.")
    return _Factored(chain, getattr(layer, "decomposition", "channel"), layer.declared_rank)


def _factors(planned: LayerPlan, layers: dict, extra: Mapping[type, Adapter], *, keep_rank: bool) -> tuple[_Factored, float]:
    """Returns the chain of a planned layer, and the share of its norm, as its batch norm scales it, that is cut."""
    layer = layers[planned.path]
    groups = table.find(layer, extra).groups(layer)
    kernel, gain = table.read_kernel(planned.path, layer, layers.get(planned.batch_norm), extra)
    form = decompositions.get(planned.decomposition)
    if _has_collapsed(kernel, gain, form, groups):
        rank = planned.rank if keep_rank else 1
        shapes = form.factor_shapes(kernel.shape, rank, groups)
        zeros = tuple(Factor(np.zeros(factor.shape), factor.spatial_axes) for factor in shapes)
        return _Factored(zeros, form.name, rank), 0.0
    chain = form.factorize(kernel, planned.rank, gain, groups=groups)
    scale = 1.0 if gain is None else gain
    scaled, left = kernel * scale, compose(chain, groups) * scale
    norm = np.linalg.norm(scaled)
    return _Factored(chain, form.name, planned.rank), float(np.linalg.norm(scaled - left) / norm) if norm else 0.0


def _has_collapsed(kernel: np.ndarray, gain: np.ndarray | None, form, groups: int) -> bool:
    if np.linalg.norm(kernel) >= _COLLAPSED * np.sqrt(groups * form.max_rank(kernel.shape, groups)):
        return False  # the largest singular value is at least the norm over the square root of the rank
    return all(form.spectrum(kernel, scale, groups=groups)[0] < _COLLAPSED for scale in (None, gain))


def _warn_of_ties(layers: Mapping[str, keras.layers.Layer], extra: Mapping[type, Adapter]) -> None:
    ties = table.ties(layers, extra, by_layers=False)  # a layer that several others hold is still one
    if ties:
        path, others = next(iter(ties.items()))
        warnings.warn(
            f"Weights that are tied are separate, with equal values, in the new model: those of '{path}' and "
            f"{', '.join(map(repr, others))}. They will differ once it is trained.",
            stacklevel=3,
        )


def _warn(chains: Mapping, losses: dict[str, float]) -> None:
    if not chains:
        warnings.warn("The plan has no layers to factorize; the model is copied as it is. print(plan) says why.", stacklevel=3)
    noticeable = {path: loss for path, loss in losses.items() if loss > _NOTICEABLE}
    if noticeable:
        worst = max(noticeable, key=noticeable.get)
        warnings.warn(
            f"{len(noticeable)} of {len(losses)} kernels are not of their planned rank, so the outputs will differ from the "
            f"model's: '{worst}' loses {100 * noticeable[worst]:.3g} % of its norm. Train with LRPETCallback, or project with "
            "lrpet_tf.Projector(model, plan).project(), before factorizing.",
            stacklevel=3,
        )
