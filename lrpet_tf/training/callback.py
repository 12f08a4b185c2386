"""LRPET as a Keras callback."""

import inspect
import numbers

import keras

from lrpet_tf import ranks
from lrpet_tf.errors import NothingToFactorizeError
from lrpet_tf.linalg import validate_options
from lrpet_tf.plan import Plan, attach, check_plan
from lrpet_tf.planning import make_plan
from lrpet_tf.training.projector import Projector
from lrpet_tf.training.recalibration import recalibrate_batch_norms


class LRPETCallback(keras.callbacks.Callback):
    """Trains a model to end up with kernels of low rank (LRPET, arXiv 2204.05566).

    `model.fit(…, callbacks=[LRPETCallback(rank=0.5)])` projects the kernels once an epoch, before the validation, so that
    `val_*` are the low-rank model's figures, and once more when training ends. It adds `lrpet_energy_kept` to the logs: the
    share of the kernels' energy that their ranks held before the epoch's last projection, or hold at its end where there was
    none. Put it first in the list: callbacks after it, such as `ModelCheckpoint` and `TensorBoard`, then see projected kernels
    and the full logs.

    Args:
        rank: As in `lrpet_tf.make_plan`; without it, the ranks that `LRPETConv2D` and `LRPETDense` layers declare.
        plan: A plan, instead of a rank.
        every: `"epoch"`, or a number of optimizer steps. Before each validation a projection is made in any case.
        start_epoch: Epochs, counted from 0, before this one train without projections.
        energy: `"merged"` keeps the norm of each kernel as its batch norm scales it, `"raw"` that of the kernel itself,
            `"none"` truncates plainly.
        tail: Share of the cut part that stays after a projection, in [0, 1]; nothing stays after the last one.
        damping: 0 is exact; 1e-5 is what the authors' release does. See `lrpet_tf.linalg.truncate`.
        bn_rectify: Whether the scale of the batch norm that follows a layer is taken into account.
        recalibrate: Training data; the batch norms' moving statistics are refreshed on it after the last projection.
        recalibrate_steps: How many batches of it to use.
        **plan_options: `decomposition`, `include`, `exclude` and `keep_if_no_gain` of `lrpet_tf.make_plan`.

    Attributes:
        plan: The plan, once training has begun. It is left on the model too, where `factorize(model)` finds it.

    Raises:
        TypeError: An option is unknown.
        ValueError: An option is out of its range, or a plan is given together with a rank or options of one.
        RankError: See `lrpet_tf.make_plan`; what depends on the model is told when training begins.
        NothingToFactorizeError: When training begins: no layer would become cheaper.
        NonFiniteKernelError: During training: a kernel holds NaN or infinity; the message names the layer and the epoch.
    """

    def __init__(
        self,
        rank=None,
        *,
        plan: Plan | None = None,
        every: str | int = "epoch",
        start_epoch: int = 0,
        energy: str = "merged",
        tail: float = 0.0,
        damping: float = 0.0,
        bn_rectify: bool = True,
        recalibrate=None,
        recalibrate_steps: int | None = 50,
        **plan_options,
    ):
        super().__init__()
        validate_options(energy, tail, damping)
        if plan is not None and (rank is not None or plan_options):
            raise ValueError(
                "Give either a plan or a rank with its options: a plan has its ranks already. "
                f"Received: rank={rank!r}, {plan_options or ''} and a plan"
            )
        if every != "epoch" and (isinstance(every, bool) or not isinstance(every, numbers.Integral) or every < 1):
            raise ValueError(f"`every` must be 'epoch' or a number of steps of at least 1. Received: every={every!r}")
        if start_epoch < 0:
            raise ValueError(f"`start_epoch` must be at least 0. Received: start_epoch={start_epoch!r}")
        if plan is None:
            ranks.get(rank)  # a bad rank is better told now than when training begins
            inspect.signature(make_plan).bind(None, rank, **plan_options)
            self._make_plan = lambda model: make_plan(model, rank, **plan_options)
        else:
            check_plan(plan)
            self._make_plan = lambda model: plan
        self.plan = plan
        self._every = every
        self._start_epoch = start_epoch
        self._tail = tail
        self._options = {"energy": energy, "damping": damping, "bn_rectify": bn_rectify}
        self._recalibrate, self._recalibrate_steps = recalibrate, recalibrate_steps
        self._training = False

    def on_train_begin(self, logs=None) -> None:
        """Makes the plan and leaves it on the model."""
        self._training = True
        self._epoch = 0
        self._seen = self._projected_at = self._steps()
        self._energy_kept = self._projector = None
        if self.model.built or not isinstance(self.model, keras.Sequential):
            self._begin()

    def _begin(self) -> None:
        self.plan = self._make_plan(self.model)
        if not self.plan.layers:
            raise NothingToFactorizeError("at these ranks no layer would become cheaper")
        self._projector = Projector(self.model, self.plan, tail=self._tail, **self._options)
        attach(self.model, self.plan)

    def on_epoch_begin(self, epoch, logs=None) -> None:
        """Notes the epoch."""
        self._epoch = epoch
        self._energy_kept = None

    def on_train_batch_end(self, batch, logs=None) -> None:
        """Projects when the optimizer's steps have crossed a multiple of `every`."""
        if self._projector is None:  # a Sequential without an Input is built by its first batch
            self._begin()
        if self._every == "epoch":
            return
        before, self._seen = self._seen, self._steps()
        if self._seen // self._every > before // self._every:
            self._project()

    def on_test_begin(self, logs=None) -> None:
        """Projects before a validation inside `fit`."""
        if self._training:
            self._project()

    def on_epoch_end(self, epoch, logs=None) -> None:
        """Projects in an epoch that had no validation, and adds the energy kept to the logs."""
        if self._every == "epoch":
            self._project()
        if logs is not None:
            kept = self._projector.energy_kept() if self._energy_kept is None else self._energy_kept
            logs["lrpet_energy_kept"] = kept

    def on_train_end(self, logs=None) -> None:
        """Projects for the last time, also what an averaging optimizer or an early stopping has put back."""
        self._training = False
        if self._projector is None:
            return  # not a single batch was trained
        Projector(self.model, self.plan, **self._options).project(when=self._when())
        if self._recalibrate is not None:
            recalibrate_batch_norms(self.model, self._recalibrate, self._recalibrate_steps)

    def _steps(self) -> int:
        return int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))

    def _when(self) -> str:
        return f"in epoch {self._epoch + 1}"

    def _project(self) -> None:
        """Projects once the start epoch is reached, unless nothing was trained since the last time."""
        steps = self._steps()
        if self._epoch < self._start_epoch or steps == self._projected_at:
            return
        self._energy_kept = self._projector.project(when=self._when())
        self._projected_at = steps
