"""The kernels of a plan, in batches that are projected in one call each."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import keras
from keras import ops

from lrpet_tf import decompositions
from lrpet_tf.adapters import KernelAdapter, batch_norm, find
from lrpet_tf.decompositions import Decomposition
from lrpet_tf.linalg import Truncated, branch, choose_engine, working_type
from lrpet_tf.methods import LRPET
from lrpet_tf.plan import LayerPlan, Plan

# A batch holds copies of its kernels: 4 MB of them in float32. Larger kernels gain nothing by being batched.
_LARGEST_BATCH = 2**20


class Target(NamedTuple):
    """A planned layer, and the batch norm whose scale is taken into account, or `None`."""

    planned: LayerPlan
    layer: keras.layers.Layer
    adapter: KernelAdapter
    batch_norm: keras.layers.Layer | None

    @property
    def form(self) -> tuple:
        """What layers of one batch have in common."""
        shape, groups = self.adapter.hwio_shape(self.layer), self.adapter.groups(self.layer)
        dtype = keras.backend.standardize_dtype(self.adapter.kernel(self.layer).dtype)
        return shape, groups, self.planned.decomposition, self.planned.rank, self.batch_norm is not None, dtype


class Batch:
    """Layers whose kernels have one shape and are projected in one form to one rank.

    Attributes:
        targets: The layers.
        shape: Shape of each kernel, `(*spatial sizes, in, out)`.
        groups: Number of groups of each kernel.
        decomposition: The form.
        rank: The rank of the plan.
        engines: The engine for each matrix that a projection cuts, once there is a projection to start from.
        starts: Variables that hold where the next projection may start.
    """

    def __init__(self, targets: Sequence[Target], method: LRPET):
        self.targets = tuple(targets)
        self.shape, self.groups, name, self.rank, self._has_gain, _ = targets[0].form
        self.decomposition: Decomposition = decompositions.get(name)
        self._method = method
        dtype = working_type(targets[0].adapter.kernel(targets[0].layer))
        cuts = self.decomposition.cuts(self.shape, self.rank, self.groups)
        self.engines = tuple(
            choose_engine((cut.rows, cut.columns), cut.rank, True, dtype) if method.engine == "auto" else method.engine
            for cut in cuts
        )
        self.starts = []
        if "subspace" in self.engines:
            shapes = self.decomposition.start_shapes(len(targets), self.shape, self.rank, self.groups)
            prefix = targets[0].planned.path.replace("/", "_")
            self.starts = [
                keras.Variable("zeros", shape, dtype, trainable=False, name=f"{prefix}_start{index}")
                for index, shape in enumerate(shapes)
            ]

    def gains(self):
        """Returns the scales of the batch norms, `(layers, out)`, or `None`."""
        return batch_norm.gains([target.batch_norm for target in self.targets]) if self._has_gain else None

    def project(self, gains, finite, rank=None) -> Truncated:
        """Projects the kernels, without writing them.

        Args:
            gains: What `gains` returns.
            finite: Whether to project at all, a boolean tensor.
            rank: A tensor `(layers,)` in the place of the rank of the plan; then nothing is started from, or noted for the next
                time.

        Returns:
            The kernels `(layers, *shape)`, the shares `(layers,)` of their energy that were kept, and the next starts.
        """
        kernels = ops.stack([target.adapter.read(target.layer) for target in self.targets])
        starts = tuple(ops.cast(each, each.dtype) for each in self.starts) if rank is None else ()

        def projected():
            given = self.rank if rank is None else rank
            found = self._method.project(kernels, self.decomposition, given, gains, groups=self.groups, starts=starts)
            return found.matrix, found.energy_kept, found.starts if starts else ()

        def unchanged():
            return kernels, ops.zeros((len(self.targets),), "float32"), starts

        return Truncated(*branch(finite, projected, unchanged))

    def write(self, projected: Truncated) -> None:
        """Assigns the kernels and the starts."""
        for target, kernel in zip(self.targets, ops.unstack(projected.matrix, len(self.targets)), strict=True):
            target.adapter.write(target.layer, kernel)
        for variable, start in zip(self.starts, projected.starts, strict=False):
            variable.assign(start)


def batches(plan: Plan, layers: Mapping[str, keras.layers.Layer], method: LRPET) -> list[Batch]:
    """Returns the planned layers in batches.

    Args:
        plan: The plan.
        layers: The layers of the model by path.
        method: How to project.
    """
    forms: dict[tuple, list[Target]] = {}
    for planned in plan.layers:
        layer = layers[planned.path]
        following = layers[planned.batch_norm] if planned.batch_norm is not None and method.bn_rectify else None
        target = Target(planned, layer, find(layer, plan.adapters), following)
        forms.setdefault(target.form, []).append(target)
    found = []
    for (shape, *_), targets in forms.items():
        size = max(1, _LARGEST_BATCH // math.prod(shape))
        found += [Batch(targets[first : first + size], method) for first in range(0, len(targets), size)]
    return found
