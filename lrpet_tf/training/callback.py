"""LRPET as a Keras callback."""

import inspect
import numbers
import time

import keras

from lrpet_tf import ranks
from lrpet_tf.errors import NothingToFactorizeError
from lrpet_tf.linalg import validate_options
from lrpet_tf.plan import Plan, attach, check_plan
from lrpet_tf.planning import check_reachable, make_plan
from lrpet_tf.training.projector import Projector
from lrpet_tf.training.recalibration import recalibrate_batch_norms
from lrpet_tf.training.schedule import RankSchedule, get_schedule

# Epochs of dense training before a rule reads the weights, when the user does not say.
_WARMUP_EPOCHS = 2


def _check_whole(name: str, value, least: int, what: str = "a whole number") -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f"`{name}` must be {what} of at least {least}. Received: {name}={value!r}")


def _count_changes(before: Plan, after: Plan) -> int:
    """Returns the number of layers whose rank, or choice to stay dense, is another one."""
    ranks_before, ranks_after = ({path: plan[path].rank for path in plan} for plan in (before, after))
    return sum(ranks_before.get(path) != ranks_after.get(path) for path in {*ranks_before, *ranks_after})


class LRPETCallback(keras.callbacks.Callback):
    """Trains a model to end up with kernels of low rank (LRPET, arXiv 2204.05566).

    `model.fit(…, callbacks=[LRPETCallback(rank=0.5)])` projects the kernels once an epoch, before the validation, so that
    `val_*` are the low-rank model's figures, and once more when training ends. It adds to the logs `lrpet_energy_kept`: the
    share of the kernels' energy that their ranks held before the epoch's last projection, or hold at its end where there was
    none; and `lrpet_time_share`: the share of the epoch's time, validation included, that the projections took. Put it first in
    the list: callbacks after it, such as `ModelCheckpoint` and `TensorBoard`, then see projected kernels and the full logs.

    Args:
        rank: As in `lrpet_tf.make_plan`; without it, the ranks that `LRPETConv2D` and `LRPETDense` layers declare.
        plan: A plan, instead of a rank.
        every: `"epoch"`, or a number of optimizer steps. Before each validation a projection is made in any case.
        start_epoch: Epochs, counted from 0, before this one train without projections.
        warmup_epochs: Epochs, counted from 0, before this one train dense; the plan is made after them. By default 2 for a rule
            that reads the weights (`Energy` and the budgets), since at random initialisation all spectra are alike, and 0 for
            others. Give 0 for a model that is trained already.
        replan_every: Epochs after which the plan is made anew from the kernels as they are before a projection, again and
            again; `None` keeps the first plan.
        schedule: `"linear"`, `"cubic"` or a `RankSchedule`: ranks fall from full to target over some epochs instead of at once.
        energy: `"merged"` keeps the norm of each kernel as its batch norm scales it, `"raw"` that of the kernel itself,
            `"none"` truncates plainly.
        tail: Share of the cut part that stays after a projection, in [0, 1]; nothing stays after the last one.
        damping: 0 is exact; 1e-5 is what the authors' release does. See `lrpet_tf.linalg.truncate`.
        bn_rectify: Whether the scale of the batch norm that follows a layer is taken into account.
        recalibrate: Training data; the batch norms' moving statistics are refreshed on it after the last projection.
        recalibrate_steps: How many batches of it to use.
        engine: What finds the subspaces: `"auto"` chooses by shape and rank; the engines differ in speed alone. See
            `lrpet_tf.linalg.truncate`.
        verbose: Whether to print, once, how the kernels are batched and what engine each batch uses.
        **plan_options: `decomposition`, `include`, `exclude`, `keep_if_no_gain` and `adapters` of `lrpet_tf.make_plan`.

    Attributes:
        plan: The plan, once it is made. It is left on the model too, where `factorize(model)` finds it.

    Raises:
        TypeError: An option is unknown.
        ValueError: An option is out of its range, or a plan is given together with a rank or options of one.
        RankError: See `lrpet_tf.make_plan`; what depends on the model is told when training begins.
        BudgetError: When training begins: the budget cannot be reached.
        NothingToFactorizeError: When the plan is made: no layer would become cheaper.
        NonFiniteKernelError: During training: a kernel holds NaN or infinity; the message names the layer and the epoch.
    """

    def __init__(
        self,
        rank=None,
        *,
        plan: Plan | None = None,
        every: str | int = "epoch",
        start_epoch: int = 0,
        warmup_epochs: int | None = None,
        replan_every: int | None = None,
        schedule: str | RankSchedule | None = None,
        energy: str = "merged",
        tail: float = 0.0,
        damping: float = 0.0,
        bn_rectify: bool = True,
        recalibrate=None,
        recalibrate_steps: int | None = 50,
        engine: str = "auto",
        verbose: bool = False,
        **plan_options,
    ):
        super().__init__()
        validate_options(energy, tail, damping, engine)
        if plan is not None and (rank is not None or plan_options or replan_every is not None):
            raise ValueError(
                "Give either a plan or a rank with its options: a plan has its ranks already. "
                f"Received: rank={rank!r}, replan_every={replan_every!r}, {plan_options or ''} and a plan"
            )
        if every != "epoch":
            _check_whole("every", every, 1, "'epoch' or a number of steps")
        _check_whole("start_epoch", start_epoch, 0)
        if warmup_epochs is not None:
            _check_whole("warmup_epochs", warmup_epochs, 0)
        if replan_every is not None:
            _check_whole("replan_every", replan_every, 1)
        if plan is None:
            reads_weights = ranks.get(rank).reads_weights  # a bad rank is better told now than when training begins
            inspect.signature(make_plan).bind(None, rank, **plan_options)
        else:
            reads_weights = False
            check_plan(plan)
        self.plan = self._given = plan
        self._rank, self._plan_options = rank, plan_options
        self._warmup_epochs = (_WARMUP_EPOCHS if reads_weights else 0) if warmup_epochs is None else warmup_epochs
        self._plans_late = reads_weights and self._warmup_epochs > 0
        self._replan_every = replan_every
        self._every = every
        self._first_epoch = max(start_epoch, self._warmup_epochs)
        self._schedule = get_schedule(schedule)
        self._tail = tail
        self._options = {"energy": energy, "damping": damping, "bn_rectify": bn_rectify, "engine": engine}
        self._verbose = verbose
        self._recalibrate, self._recalibrate_steps = recalibrate, recalibrate_steps
        self._training = False

    def on_train_begin(self, logs=None) -> None:
        """Makes the plan and leaves it on the model, or checks that it can be made after the warm-up."""
        self._training = True
        self._epoch = 0
        self._seen = self._projected_at = self._begun_at = self._steps()
        self._energy_kept = self._projector = None
        self._checked = False
        if self.model.built or not isinstance(self.model, keras.Sequential):
            self._begin()

    def _begin(self) -> None:
        """Plans at once, or tells at once what would be told after the warm-up."""
        self._checked = True
        if self._plans_late:
            check_reachable(self.model, self._rank, **self._plan_options)
        else:
            self._make_plan()

    def _make_plan(self) -> None:
        self.plan = make_plan(self.model, self._rank, **self._plan_options) if self._given is None else self._given
        if not self.plan.layers:
            raise NothingToFactorizeError("at these ranks no layer would become cheaper")
        self._projector = Projector(self.model, self.plan, tail=self._tail, **self._options)
        attach(self.model, self.plan)
        if self._verbose:
            print(self._projector.describe())
            self._verbose = False

    def _plan_late(self, done: int) -> None:
        """Plans in the middle of a training, and says so."""
        before, self.plan = self.plan, None
        self._make_plan()
        if self.params.get("verbose"):
            changed = "" if before is None else f" ({_count_changes(before, self.plan)} changed)"
            note = self.plan.note or f"{len(self.plan)} layers"
            print(f"\nLRPETCallback: ranks planned after {done} epochs of training{changed}. {note}")

    def on_epoch_begin(self, epoch, logs=None) -> None:
        """Notes the epoch, and plans when the warm-up is over."""
        self._epoch = epoch
        self._energy_kept = None
        self._epoch_began, self._time_spent = time.perf_counter(), 0.0
        self._replanned = False
        if self._checked and self._projector is None and epoch >= self._warmup_epochs:
            self._plan_late(epoch)

    def on_train_batch_end(self, batch, logs=None) -> None:
        """Projects when the optimizer's steps have crossed a multiple of `every`."""
        if not self._checked:  # a Sequential without an Input is built by its first batch
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
            logs["lrpet_energy_kept"] = self._current_energy_kept()
            logs["lrpet_time_share"] = self._time_spent / (time.perf_counter() - self._epoch_began)

    def on_train_end(self, logs=None) -> None:
        """Projects for the last time, also what an averaging optimizer or an early stopping has put back."""
        self._training = False
        if self._projector is None:
            if not self._checked or self._steps() == self._begun_at:
                return  # not a single batch was trained
            self._plan_late(self._epoch + 1)
        last = Projector(self.model, self.plan, **self._options) if self._tail else self._projector
        last.project(when=self._when())
        if self._recalibrate is not None:
            recalibrate_batch_norms(self.model, self._recalibrate, self._recalibrate_steps)

    def _steps(self) -> int:
        return int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))

    def _when(self) -> str:
        return f"in epoch {self._epoch + 1}"

    def _current_energy_kept(self) -> float:
        if self._energy_kept is not None:
            return self._energy_kept
        return 1.0 if self._projector is None else self._projector.energy_kept()  # before there are ranks, nothing is cut

    def _ranks(self) -> dict[str, int] | None:
        """Returns the ranks of the present epoch where they are annealed."""
        if self._schedule is None:
            return None
        return self._schedule.ranks(self.plan, self._epoch + 1 - self._first_epoch, self.params["epochs"] - self._first_epoch)

    def _project(self) -> None:
        """Projects once the first epoch is reached, unless nothing was trained since the last time."""
        steps = self._steps()
        if self._epoch < self._first_epoch or steps == self._projected_at:
            return
        if self._projector is None:  # a Sequential without an Input, whose warm-up was over before it was built
            self._plan_late(self._epoch)
        if self._is_time_to_replan():
            self._plan_late(self._epoch + 1)
            self._replanned = True
        began = time.perf_counter()  # the steps before have ended: their number was read
        self._energy_kept = self._projector.project(when=self._when(), ranks=self._ranks())
        self._time_spent += time.perf_counter() - began
        self._projected_at = steps

    def _is_time_to_replan(self) -> bool:
        if self._replan_every is None or self._replanned:
            return False
        since = self._epoch + 1 - self._warmup_epochs
        return since > 0 and since % self._replan_every == 0
