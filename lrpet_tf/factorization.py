"""Rewriting a trained model: each planned layer becomes a chain of small stock layers."""

import warnings

import keras
import numpy as np

from lrpet_tf import adapters, decompositions
from lrpet_tf.errors import LowRankError, NothingToFactorizeError
from lrpet_tf.graph import rewrite
from lrpet_tf.linalg import Chain, Factor, compose
from lrpet_tf.plan import LayerPlan, Plan, attached, check_plan
from lrpet_tf.planning import make_plan
from lrpet_tf.ranks import NumericalRank
from lrpet_tf.report import track

# A kernel whose largest singular value is under this has collapsed (the authors' threshold, arXiv 2204.05566).
_COLLAPSED = 1e-5
# Share of a kernel's norm whose loss is worth a warning: a projected float32 kernel loses about 1e-7 of it.
_NOTICEABLE = 1e-5


def factorize(model: keras.Model, plan: Plan | None = None) -> keras.Model:
    """Rewrites a trained model into a smaller one of stock Keras layers.

    Each planned layer becomes a chain of layers of its rank. The last one keeps the layer's name, bias and activation; the
    others are called `<name>_factor0`, …. Regularizers, constraints, the dtype policy and `trainable` go along. The outputs
    are those of `model` when its kernels are of the planned ranks, as training with `LRPETCallback` leaves them. A layer
    that has collapsed (largest singular value under 1e-5, before and after its batch norm) becomes a constant branch: a
    chain of rank one with zero kernels.

    Args:
        model: A built Functional or Sequential model; models nested in it are rewritten too. It is not changed.
        plan: A plan for it. By default the plan that `LRPETCallback` left on the model, or else each kernel's numerical
            rank.

    Returns:
        A new model that shares nothing with `model`, not compiled. Saved as `.keras` it loads without this library.

    Raises:
        PlanMismatchError: The plan was made for another model.
        UnsupportedModelError: The model is subclassed, or not built.
        NonFiniteKernelError: A kernel holds NaN or infinity.
        NothingToFactorizeError: No plan was given or left, and no kernel is of low rank.

    Warns:
        UserWarning: Kernels are not of their planned rank, so that the outputs differ; or the plan has no layers.
    """
    given = attached(model) if plan is None else check_plan(plan)
    plan = given if given is not None else make_plan(model, NumericalRank())
    layers = plan.resolve(model)
    chains = {id(layer): chain for layer in layers.values() if (chain := _own_chain(layer)) is not None}
    losses = {}
    for planned in track(plan.layers, "Factorizing"):
        chains[id(layers[planned.path])], losses[planned.path] = _factors(planned, layers)
    if not chains and given is None:
        raise NothingToFactorizeError("no plan was given, and no kernel is of low rank")
    _warn(chains, losses)
    return _rewrite(model, layers, chains)


def _rewrite(model: keras.Model, layers: dict[str, keras.layers.Layer], chains: dict[int, Chain]) -> keras.Model:
    """Puts stock layers in the place of those that have a chain, by id."""
    pending = dict(chains)
    taken = {layer.name for layer in (*layers.values(), *model._flatten_layers())}
    stock = []

    def replace(layer: keras.layers.Layer):
        if id(layer) not in pending:
            return None
        made = adapters.find(layer).stock_chain(layer, pending.pop(id(layer)), taken)
        stock.extend(made)
        return [layer for layer, _ in made]

    small = rewrite(model, replace)
    for layer, weights in stock:
        layer.set_weights(weights)
    if pending:
        missed = ", ".join(path for path, layer in layers.items() if id(layer) in pending)
        raise LowRankError(f"Layers were to be factorized but were not reached: {missed}. Please report this with the model.")
    left = ", ".join(f"'{layer.name}'" for layer in small._flatten_layers() if type(layer).__module__.startswith("lrpet_tf"))
    if left:
        raise LowRankError(f"Layers of this library inside a wrapper or another layer cannot be made stock layers: {left}.")
    return small


def _own_chain(layer) -> Chain | None:
    adapter = adapters.find(layer)
    return None if adapter is None else adapter.own_chain(layer)


def _factors(planned: LayerPlan, layers: dict) -> tuple[Chain, float]:
    """Returns the chain of a planned layer, and the share of its norm, as its batch norm scales it, that is cut."""
    kernel, gain = adapters.read_kernel(planned.path, layers[planned.path], layers.get(planned.batch_norm))
    form = decompositions.get(planned.decomposition)
    if _has_collapsed(kernel, gain, form):
        shapes = form.factor_shapes(kernel.shape, 1)
        return tuple(Factor(np.zeros(factor.shape), factor.spatial_axes) for factor in shapes), 0.0
    chain = form.factorize(kernel, planned.rank, gain)
    scaled = kernel if gain is None else kernel * gain
    left = compose(chain) if gain is None else compose(chain) * gain
    norm = np.linalg.norm(scaled)
    return chain, float(np.linalg.norm(scaled - left) / norm) if norm else 0.0


def _has_collapsed(kernel: np.ndarray, gain: np.ndarray | None, form) -> bool:
    if np.linalg.norm(kernel) >= _COLLAPSED * np.sqrt(form.max_rank(kernel.shape)):
        return False  # the largest singular value is at least the norm over the square root of the rank
    return all(form.spectrum(kernel, scale)[0] < _COLLAPSED for scale in (None, gain))


def _warn(chains: dict[int, Chain], losses: dict[str, float]) -> None:
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
