"""Which kernels are sparse or clustered, so that quantization-aware training keeps them so."""

from collections.abc import Collection

import numpy as np

from lrpet_tf.errors import LowRankError

# Share of zeros from which a kernel counts as sparse, and most values of one that counts as clustered.
_SPARSE, _VALUES = 0.1, 256
# Layers whose kernels tfmot can preserve.
_KINDS = {"Conv2D", "Dense"}
_FOUND = {(True, False): "sparsity", (False, True): "clusters", (True, True): "both"}


def is_sparse(kernel: np.ndarray) -> bool:
    """Returns whether a kernel counts as sparse: at least a tenth of it is zero."""
    return float(np.mean(kernel == 0)) >= _SPARSE


def preserved_layers(flat, quantized: Collection[str], what: str) -> dict[str, str]:
    """Finds the kernels that are sparse or clustered.

    Args:
        flat: A tf_keras model.
        quantized: Names of the layers that are to be quantized.
        what: `"sparsity"`, `"clusters"` or `"both"`.

    Returns:
        By the name of a layer, what is to be preserved of its kernel.

    Raises:
        LowRankError: No kernel has any of it.
    """
    found = {}
    for layer in flat.layers:
        if layer.name in quantized and type(layer).__name__ in _KINDS and layer.trainable:
            kernel = layer.get_weights()[0]
            sparse = what != "clusters" and is_sparse(kernel)
            values = np.unique(kernel).size
            clustered = what != "sparsity" and 1 < values <= min(_VALUES, kernel.size // 2)
            if sparse or clustered:
                found[layer.name] = _FOUND[sparse, clustered]
    if not found:
        raise LowRankError(
            f"There is nothing to preserve: no kernel that is quantized has a tenth of zeros, or at most {_VALUES} values that "
            "repeat. Prune or cluster the factors first, with prune_factors or cluster_factors, and bring the weights back "
            f"with from_tf_keras. Received: preserve={what!r}"
        )
    return found
