"""LRPET: low-rank projection with energy transfer (arXiv 2204.05566, IEEE TNNLS 2024).

Problem solved: training a network whose kernels end up of given ranks, without a gap between the trained and the factorized
model. SGD moves the dense kernels; from time to time each kernel is replaced by the nearest one of its rank, as the batch
norm that follows will scale it, and the energy of the singular values that are cut is handed to those that are kept, so
that the second moments of activations and gradients stay what they were.
"""

import dataclasses

from lrpet_tf.decompositions import Decomposition
from lrpet_tf.linalg import Truncated, validate_options


@dataclasses.dataclass(frozen=True)
class LRPET:
    """The options of the projection. A pure update rule: `project` maps a kernel to a kernel.

    Attributes:
        energy: `"merged"` keeps the norm of the kernel as its batch norm scales it, `"raw"` that of the kernel itself,
            `"none"` truncates plainly.
        tail: Share of the cut part that stays, in [0, 1]; the last projection of a training always uses 0.
        damping: 0 is exact; 1e-5 is what the authors' release does. See `lrpet_tf.linalg.truncate`.
        bn_rectify: Whether the scale of the following batch norm is taken into account.
        engine: What finds the subspaces; the engines differ in speed alone. See `lrpet_tf.linalg.truncate`.

    Raises:
        ValueError: An option is out of its range.
    """

    energy: str = "merged"
    tail: float = 0.0
    damping: float = 0.0
    bn_rectify: bool = True
    engine: str = "auto"

    def __post_init__(self):
        """Checks the options."""
        validate_options(self.energy, self.tail, self.damping, self.engine)

    def project(
        self, kernels, decomposition: Decomposition, rank, gains=None, *, groups: int = 1, starts: tuple = ()
    ) -> Truncated:
        """Projects kernels of one shape.

        Args:
            kernels: Tensor `(n, *spatial sizes, in, out)`.
            decomposition: The form of low rank.
            rank: From 1 to the full rank in that form; or a tensor `(n,)` of ints.
            gains: Tensor `(n, out)`: the scales of the batch norms that follow, or `None`.
            groups: Number of groups of each kernel.
            starts: See `Decomposition.project_batch`.

        Returns:
            The projected kernels, the shares `(n,)` of the energy that their rank held, and where to start the next time.
        """
        options = {"energy": self.energy, "tail": self.tail, "damping": self.damping, "engine": self.engine}
        return decomposition.project_batch(
            kernels, rank, gains if self.bn_rectify else None, groups=groups, starts=starts, **options
        )
