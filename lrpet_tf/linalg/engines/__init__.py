"""The engines that find a top singular subspace: one file each, one row each.

An engine maps `(matrix, rank)`, a tensor `(..., p, m)` of magnitude about one and an int, to an orthonormal basis
`(..., p, rank)` of the span of the matrix's `rank` leading left singular vectors.
"""

from lrpet_tf.linalg.engines import gram, svd

ENGINES = {"svd": svd.top_subspace, "gram": gram.top_subspace}

__all__ = ["ENGINES"]
