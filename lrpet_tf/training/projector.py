"""Projecting the kernels of a model: the training method applied to the layers of a plan."""

import functools
from collections.abc import Callable, Mapping

import keras
import numpy as np
from keras import ops

from lrpet_tf.errors import NonFiniteKernelError
from lrpet_tf.methods import LRPET
from lrpet_tf.plan import Plan, check_plan
from lrpet_tf.training.batches import Batch, batches
from lrpet_tf.training.compiling import compiled


class Projector:
    """Projects every planned kernel of a model, in place, on any backend; for training loops of one's own.

    The first call compiles one function for the whole model. Kernels of one shape and rank are projected together.

    Args:
        model: The model; its kernels stay dense variables of the same shape.
        plan: A plan for it.
        energy: `"merged"` keeps the norm of each kernel as its batch norm scales it, `"raw"` that of the kernel itself,
            `"none"` truncates plainly.
        tail: Share of the cut part that stays, in [0, 1].
        damping: 0 is exact; 1e-5 is what the authors' release does. See `lrpet_tf.linalg.truncate`.
        bn_rectify: Whether the scale of the batch norm that follows a layer is taken into account.
        engine: `"auto"`, `"svd"`, `"gram"`, `"subspace"` or `"randomized"`: they differ in speed alone.

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
        engine: str = "auto",
    ):
        method = LRPET(energy=energy, tail=tail, damping=damping, bn_rectify=bn_rectify, engine=engine)
        self.batches: list[Batch] = batches(check_plan(plan), plan.resolve(model), method)
        self.targets = [target for batch in self.batches for target in batch.targets]
        self._functions: dict[str, Callable] = {}

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
        planned = [target.planned.rank for target in self.targets]
        given = [(ranks or {}).get(target.planned.path, target.planned.rank) for target in self.targets]
        if given == planned:
            return self._run("project", self.step, when=when)
        return self._run("project to ranks", self.step, ops.convert_to_tensor(given, "int32"), when=when)

    def energy_kept(self) -> float:
        """Returns what `project` would return, and projects nothing."""
        return self._run("measure", functools.partial(self.step, write=False))

    def describe(self) -> str:
        """Returns a line for each batch of kernels: how many there are, their shape, form and rank, and the engine used."""
        lines = [f"{len(self.targets)} kernels are projected in {len(self.batches)} batches:"]
        for batch in self.batches:
            engines = " and ".join(dict.fromkeys(batch.engines))
            shape = "×".join(map(str, batch.shape))
            lines.append(f"  {len(batch.targets)} × {shape}, {batch.decomposition.name}, rank {batch.rank}: {engines}")
        return "\n".join(lines)

    @property
    def writes(self) -> list[keras.Variable]:
        """The variables that a projection may assign."""
        weights = {id(weight): weight for target in self.targets for weight in target.layer.weights}
        return [*weights.values(), *(start for batch in self.batches for start in batch.starts)]

    @property
    def reads(self) -> list[keras.Variable]:
        """The variables that a projection reads and does not assign."""
        layers = [target.batch_norm for target in self.targets if target.batch_norm is not None]
        return list({id(weight): weight for layer in layers for weight in layer.weights}.values())

    def step(self, ranks=None, *, write: bool = True) -> tuple:
        """Projects all kernels, or none when one of them is not finite: what is compiled.

        Args:
            ranks: Tensor of ranks, a row for each layer in the order of the batches, in the place of those of the plan.
            write: Whether to assign the kernels.

        Returns:
            Tensors `(layers,)`: whether the kernel, and whether the scale of its batch norm, is finite, and the share of the
            energy that the rank held.
        """
        gains = [batch.gains() for batch in self.batches]
        sums = [ops.sum(target.adapter.read(target.layer)) for target in self.targets]
        finite_kernels = ops.isfinite(ops.stack([ops.cast(each, "float32") for each in sums]))
        finite_gains = ops.concatenate(
            [
                ops.ones((len(batch.targets),), "bool") if gain is None else ops.isfinite(ops.sum(gain, axis=-1))
                for batch, gain in zip(self.batches, gains, strict=True)
            ]
        )
        finite = ops.all(ops.logical_and(finite_kernels, finite_gains))
        shares, first = [], 0
        for batch, gain in zip(self.batches, gains, strict=True):
            size = len(batch.targets)
            projected = batch.project(gain, finite, None if ranks is None else ranks[first : first + size])
            if write:
                batch.write(projected)
            shares.append(projected.energy_kept)
            first += size
        return finite_kernels, finite_gains, ops.concatenate(shares)

    def _run(self, name: str, function: Callable, *args, when: str = "") -> float:
        """Runs a function of `step`'s results, compiled once under a name."""
        if not self.targets:
            return 1.0
        if name not in self._functions:
            self._functions[name] = compiled(function, self.reads, self.writes)
        *checks, shares = map(ops.convert_to_numpy, self._functions[name](*args))
        for what, finite in zip(("kernel", "batch-norm scale"), checks, strict=True):
            for target, is_finite in zip(self.targets, finite, strict=True):
                if not is_finite:
                    raise NonFiniteKernelError(target.planned.path, what, f" {when}" if when else "")
        return float(np.mean(shares))
