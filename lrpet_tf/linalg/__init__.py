"""Pure tensor functions: no layers, no printing, no state.

A *matrix* here is a kernel of `p` rows (receptive field times input channels) and `m` columns (output channels). Functions
on tensors use `keras.ops` alone and run eagerly and compiled on every backend; functions on arrays are NumPy in float64.
"""

from lrpet_tf.linalg.branching import branch
from lrpet_tf.linalg.chain import Chain, Factor, FactorShape, KernelShape, compose, shapes_of, split_groups, whole
from lrpet_tf.linalg.engines import ENGINES, choose_engine
from lrpet_tf.linalg.exact import left_basis, singular_values, truncated_pair
from lrpet_tf.linalg.rank import rank_from_share, resolve_rank, validate_rank
from lrpet_tf.linalg.subspace import find_subspace, top_subspace
from lrpet_tf.linalg.truncate import (
    ENERGY_MODES,
    Truncated,
    balanced_pair,
    transfer_energy,
    truncate,
    truncate_and_measure,
    validate_options,
)
from lrpet_tf.linalg.weighted import energy, unit_scale, working_type

__all__ = [
    "ENERGY_MODES",
    "ENGINES",
    "Chain",
    "Factor",
    "FactorShape",
    "KernelShape",
    "Truncated",
    "balanced_pair",
    "branch",
    "choose_engine",
    "compose",
    "energy",
    "find_subspace",
    "left_basis",
    "rank_from_share",
    "resolve_rank",
    "shapes_of",
    "singular_values",
    "split_groups",
    "top_subspace",
    "transfer_energy",
    "truncate",
    "truncate_and_measure",
    "truncated_pair",
    "unit_scale",
    "validate_options",
    "validate_rank",
    "whole",
    "working_type",
]
