"""Pruning and clustering of the factors of a factorized model, by tensorflow-model-optimization (tfmot)."""

import re
from collections.abc import Callable, Sequence

import keras

from lrpet_tf.errors import LowRankError
from lrpet_tf.graph import read_graph
from lrpet_tf.interop.carrying import to_tf_keras
from lrpet_tf.interop.naming import flat_names
from lrpet_tf.interop.packages import tf_keras, tfmot
from lrpet_tf.interop.preserving import is_sparse
from lrpet_tf.ranks.patterns import as_patterns, check_patterns, matches

# The earlier factors of a layer `name` are called `name_factor0`, …; the last one has the layer's own name.
_FACTOR = re.compile(r"(.+)_factor_*\d+")


def factor_paths(model: keras.Model) -> tuple[str, ...]:
    """Returns the paths of the layers that `factorize` has put in the place of others, the last of each chain included.

    Args:
        model: A built Keras 3 model.

    Raises:
        UnsupportedModelError: The model is not built.
    """
    paths = read_graph(model).layers()
    earlier = {path: match[1] for path in paths if (match := _FACTOR.fullmatch(path)) and match[1] in paths}
    return tuple(path for path in paths if path in earlier or path in earlier.values())


def _chosen(model: keras.Model, layers) -> set[str]:
    """Returns the names, in a flat model, of the layers to be changed.

    Raises:
        LowRankError: The model has no factors, and no layers are given.
    """
    named = {path: name for path, (layer, name) in flat_names(model).items() if getattr(layer, "weights", None)}
    if layers is None:
        paths = factor_paths(model)
        if not paths:
            raise LowRankError(
                f"Model '{model.name}' has no factors: no layers called '<name>_factor0' and '<name>', as lrpet_tf.factorize "
                "names them. Factorize it first, or give the patterns of layers to change in layers=."
            )
        return {named[path] for path in paths}
    patterns = as_patterns(layers)
    check_patterns("layers", patterns, dict.fromkeys(named), usable=False)
    return {name for path, name in named.items() if any(matches(pattern, path) for pattern in patterns)}


def _wrapped(model: keras.Model, layers, wrap: Callable):
    chosen = _chosen(model, layers)
    flat = to_tf_keras(model)
    try:
        return tf_keras().models.clone_model(flat, clone_function=lambda layer: wrap(layer) if layer.name in chosen else layer)
    except ValueError as error:
        raise LowRankError(
            f"tensorflow-model-optimization cannot change a layer of model '{model.name}': {error} Choose others with layers=."
        ) from error


def prune_factors(
    model: keras.Model,
    sparsity: float = 0.5,
    *,
    layers: str | Sequence[str] | None = None,
    begin_step: int = 0,
    end_step: int = 1000,
    frequency: int = 100,
):
    """Returns a model of tf_keras whose factors lose their smallest weights while it is trained.

    The share of zeros rises from none to `sparsity`, fast at first. Train it with `callbacks=[pruning_step()]`, bring the
    weights back with `from_tf_keras`, and let `quantize_aware(…, preserve="sparsity")` keep the zeros.

    Args:
        model: A factorized Keras 3 model.
        sparsity: Share of zeros in each kernel in the end, in (0, 1).
        layers: Patterns of the paths of layers to prune; all factors by default.
        begin_step: Optimizer step at which pruning begins.
        end_step: Optimizer step from which `sparsity` is reached; give fewer than there will be.
        frequency: Steps from one pruning to the next.

    Returns:
        A `tf_keras.Model`, not compiled.

    Raises:
        LowRankError: There are no factors, or tfmot cannot prune a layer.
        PatternError: A pattern matches no layer with weights.
        UnsupportedLayersError: There are layers that tf_keras does not have.
        MissingExtraError: tf_keras or tensorflow-model-optimization is not installed.
        ValueError: `sparsity` or the steps are out of bounds.
    """
    if not 0 < sparsity < 1:
        raise ValueError(f"`sparsity` must lie in (0, 1). Received: sparsity={sparsity!r}")
    if not 0 <= begin_step < end_step or frequency < 1:
        raise ValueError(
            "Expected 0 <= begin_step < end_step and frequency >= 1. "
            f"Received: begin_step={begin_step}, end_step={end_step}, frequency={frequency}"
        )
    pruning = tfmot().sparsity.keras
    schedule = pruning.PolynomialDecay(0.0, sparsity, begin_step, end_step, frequency=frequency)
    return _wrapped(model, layers, lambda layer: pruning.prune_low_magnitude(layer, pruning_schedule=schedule))


def pruning_step():
    """Returns the callback that a model from `prune_factors` is trained with.

    Raises:
        MissingExtraError: tensorflow-model-optimization is not installed.
    """
    return tfmot().sparsity.keras.UpdatePruningStep()


def cluster_factors(model: keras.Model, clusters: int = 16, *, layers: str | Sequence[str] | None = None):
    """Returns a model of tf_keras in which the weights of each factor have but a few values, which training moves.

    Zeros stay zeros in kernels that were pruned before. Bring the weights back with `from_tf_keras`, and let
    `quantize_aware(…, preserve="clusters")` keep equal ones equal: the file then packs well.

    Args:
        model: A factorized Keras 3 model.
        clusters: Number of values in each kernel, at least 2.
        layers: Patterns of the paths of layers to cluster; all factors by default.

    Returns:
        A `tf_keras.Model`, not compiled.

    Raises:
        LowRankError: There are no factors, or tfmot cannot cluster a layer.
        PatternError: A pattern matches no layer with weights.
        UnsupportedLayersError: There are layers that tf_keras does not have.
        MissingExtraError: tf_keras or tensorflow-model-optimization is not installed.
        ValueError: `clusters` is less than 2.
    """
    if clusters < 2:
        raise ValueError(f"`clusters` must be at least 2. Received: clusters={clusters!r}")
    clustering = tfmot().clustering.keras
    options = {
        "number_of_clusters": clusters,
        "cluster_centroids_init": clustering.CentroidInitialization.KMEANS_PLUS_PLUS,
    }

    def wrap(layer):
        if any(is_sparse(kernel) for kernel in layer.get_weights() if kernel.ndim > 1):
            from tensorflow_model_optimization.python.core.clustering.keras.experimental import cluster

            return cluster.cluster_weights(layer, preserve_sparsity=True, **options)
        return clustering.cluster_weights(layer, **options)

    return _wrapped(model, layers, wrap)


def strip(trained):
    """Returns a model of tf_keras without what tfmot has wrapped around its layers for pruning or clustering.

    Args:
        trained: A model from `prune_factors` or `cluster_factors`; any other is returned as it is.

    Returns:
        A `tf_keras.Model` of plain layers, their kernels sparse or of few values.

    Raises:
        MissingExtraError: tensorflow-model-optimization is not installed.
    """
    kinds = {type(layer).__name__ for layer in trained.layers}
    if "PruneLowMagnitude" in kinds:
        return tfmot().sparsity.keras.strip_pruning(trained)
    return tfmot().clustering.keras.strip_clustering(trained) if "ClusterWeights" in kinds else trained
