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

    Raises:
        ValueError: An option is out of its range.
    """

    energy: str = "merged"
    tail: float = 0.0
    damping: float = 0.0
    bn_rectify: bool = True

    def __post_init__(self):
        """Checks the options."""
        validate_options(self.energy, self.tail, self.damping)

    def project(self, kernel, decomposition: Decomposition, rank: int, gain=None, groups: int = 1) -> Truncated:
        """Projects one kernel.

        Args:
            kernel: Tensor `(*spatial sizes, in, out)`.
            decomposition: The form of low rank.
            rank: From 1 to the full rank in that form.
            gain: Tensor `(out,)`: the scale of the batch norm that follows, or `None`.
            groups: Number of groups of the kernel.

        Returns:
            The projected kernel, and the share of the energy that its rank held.
        """
        options = {"energy": self.energy, "tail": self.tail, "damping": self.damping}
        return decomposition.project(kernel, rank, gain if self.bn_rectify else None, groups=groups, **options)
