"""Projecting the kernels of a model: the training method applied to the layers of a plan."""

from collections.abc import Mapping

import keras
import numpy as np
from keras import ops

from lrpet_tf import decompositions
from lrpet_tf.adapters import Adapter, batch_norm, find
from lrpet_tf.errors import NonFiniteKernelError
from lrpet_tf.linalg import Truncated
from lrpet_tf.methods import LRPET
from lrpet_tf.plan import LayerPlan, Plan, check_plan


class _Target:
    """One planned layer: its kernel, the form it is projected in, and the batch norm that follows."""

    def __init__(self, planned: LayerPlan, layers: dict, extra: Mapping[type, Adapter]):
        self.planned = planned
        self.layer = layers[planned.path]
        self.adapter = find(self.layer, extra)
        self.decomposition = decompositions.get(planned.decomposition)
        self.batch_norm = None if planned.batch_norm is None else layers[planned.batch_norm]

    def kernel(self):
        return self.adapter.read(self.layer)

    def gain(self):
        return None if self.batch_norm is None else batch_norm.gain(self.batch_norm)


def _is_finite(tensor):
    return ops.all(ops.isfinite(tensor))


def _mean(shares: list) -> float:
    return float(np.mean(ops.convert_to_numpy(ops.stack(shares)))) if shares else 1.0


class Projector:
    """Projects every planned kernel of a model, in place, on any backend; for training loops of one's own.

    Args:
        model: The model; its kernels stay dense variables of the same shape.
        plan: A plan for it.
        energy: `"merged"` keeps the norm of each kernel as its batch norm scales it, `"raw"` that of the kernel itself,
            `"none"` truncates plainly.
        tail: Share of the cut part that stays, in [0, 1].
        damping: 0 is exact; 1e-5 is what the authors' release does. See `lrpet_tf.linalg.truncate`.
        bn_rectify: Whether the scale of the batch norm that follows a layer is taken into account.

    Raises:
        PlanMismatchError: The plan was made for another model.
        ValueError: An option is out of its range.
    """

    def __init__(
        self,
        model: keras.Model,
        plan: Plan,
        *,
        energy: str = "merged",
        tail: float = 0.0,
        damping: float = 0.0,
        bn_rectify: bool = True,
    ):
        self._method = LRPET(energy=energy, tail=tail, damping=damping, bn_rectify=bn_rectify)
        layers = check_plan(plan).resolve(model)
        self._targets = [_Target(planned, layers, plan.adapters) for planned in plan.layers]

    def project(self, *, when: str = "", ranks: Mapping[str, int] | None = None) -> float:
        """Projects all kernels, or none when one of them is not finite.

        Args:
            when: Said in the error, such as `"in epoch 3"`.
            ranks: Ranks by path that take the place of the planned ones for this once.

        Returns:
            Share of the energy, as the batch norms scale the kernels, that the ranks held before the projection: the mean
            over the layers, in [0, 1].

        Raises:
            NonFiniteKernelError: A kernel, or the scale of its batch norm, holds NaN or infinity.
        """
        self._check_finite(when)
        kept = []
        for target in self._targets:
            projected, share = self._projected(target, ranks or {})
            target.adapter.write(target.layer, projected)
            kept.append(share)
        return _mean(kept)

    def energy_kept(self) -> float:
        """Returns what `project` would return, and projects nothing."""
        return _mean([self._projected(target, {}).energy_kept for target in self._targets])

    def _projected(self, target: _Target, ranks: Mapping[str, int]) -> Truncated:
        rank = ranks.get(target.planned.path, target.planned.rank)
        groups = target.adapter.groups(target.layer)
        return self._method.project(target.kernel(), target.decomposition, rank, target.gain(), groups)

    def _check_finite(self, when: str) -> None:
        if not self._targets:
            return
        gains = [target.gain() for target in self._targets]
        checks = [("kernel", target, target.kernel()) for target in self._targets]
        checks += [("batch-norm scale", t, gain) for t, gain in zip(self._targets, gains, strict=True) if gain is not None]
        finite = ops.convert_to_numpy(ops.stack([_is_finite(tensor) for _, _, tensor in checks]))
        for (what, target, _), is_finite in zip(checks, finite, strict=True):
            if not is_finite:
                raise NonFiniteKernelError(target.planned.path, what, f" {when}" if when else "")
