"""LRPET inside the training step: an optimizer that projects."""

import contextlib
import dataclasses
import gc
import json
import numbers
import weakref
from collections.abc import Callable, Iterator, Sequence

import keras
from keras import ops
from keras.optimizers import LossScaleOptimizer

from lrpet_tf.errors import LowRankError, NothingToFactorizeError, UnsupportedModelError
from lrpet_tf.methods import LRPET
from lrpet_tf.plan import Plan, attach, check_plan
from lrpet_tf.training.in_graph import check_given, extend_train_step, project_in_scope, project_when_moved, scope_of
from lrpet_tf.training.projector import Projector


def _chain(optimizer) -> Iterator[keras.optimizers.Optimizer]:
    """Yields an optimizer, the one that it wraps, and so on."""
    while isinstance(optimizer, keras.optimizers.Optimizer):
        yield optimizer
        optimizer = getattr(optimizer, "inner_optimizer", None)


def _passed_on(name: str) -> property:
    """Returns an attribute of the innermost optimizer as one's own."""

    def get(self):
        return getattr(self._innermost(), name)

    def put(self, value):
        if self._is_made:  # before that Keras sets its defaults
            setattr(self._innermost(), name, value)

    return property(get, put, doc=f"`{name}` of the optimizer inside.")


@dataclasses.dataclass
class _Bound:
    """What an optimizer is built for; Keras looks for variables inside of lists, and not in here."""

    projector: Projector
    starts: list[keras.Variable]
    trainable: list[keras.Variable]
    non_trainable: list[keras.Variable]
    leaves_projecting: bool = False


@keras.saving.register_keras_serializable(package="lrpet_tf")
class ProjectingOptimizer(keras.optimizers.Optimizer):
    """Wraps any Keras optimizer, and projects the planned kernels inside the training step (LRPET, arXiv 2204.05566).

    `model.compile(ProjectingOptimizer(keras.optimizers.AdamW(schedule), plan), …)` projects after every 20 updates of the
    weights, counted by the `iterations` of the optimizer inside. The projection is a part of the training step, so that it may
    be compiled by XLA, run many times in one execution, and on several devices, without a return to Python.

    Use it for short periods on an accelerator, and with `steps_per_execution`, where a callback is called once an execution.
    For anything else `LRPETCallback` does more: it makes the plan, projects before each validation and at the end, logs the
    energy kept, and names a kernel that is not finite. XLA compiles the projection together with the step, which takes longer.

    The rest is left to the optimizer inside: learning rate and schedule, weight decay, clipping, averages, and accumulation of
    gradients, whose updates count. Losses are scaled once, whether a `LossScaleOptimizer` is inside or, as Keras does it under
    `mixed_float16`, outside; with both, the one outside does it.

    A training ends with steps after the last projection unless their number is a multiple of `every`.
    `Projector(model, plan).project()` completes it, and `factorize(model)` cuts to the plan in any case. Where the optimizer
    inside averages the weights (`use_ema=True`), the averages are projected when they take the place of the weights.

    It is saved with the model, plan included. A model that is loaded, by a program that imports `lrpet_tf`, trains on as if it
    had never been saved. Inside a compiled step no error can be raised: as long as a kernel is not finite nothing is projected.

    Args:
        optimizer: The optimizer that updates the weights, or its name.
        plan: A plan for the model.
        every: Number of updates from one projection to the next.
        model: The model of the plan, where it is not the compiled one, or none is compiled, as in a loop of one's own.
        energy: As in `Projector`, like the options that follow.
        tail: See there.
        damping: See there.
        bn_rectify: See there.
        engine: See there.
        name: Name of the optimizer.

    Attributes:
        inner_optimizer: The optimizer inside.
        plan: The plan. It is left on the model too, where `factorize(model)` finds it.
        every: Number of updates from one projection to the next.

    Raises:
        LowRankError: This is no optimizer, or no plan, or `every` is no whole number of at least 1. When training begins: the
            optimizer is that of no compiled model, and none was given.
        ValueError: Another option is out of its range.
        NothingToFactorizeError: The plan has no layers.
        PlanMismatchError: The plan was made for another model, or was loaded without the adapters that it needs; told when
            training begins, or at once when `model` is given.
        NonFiniteKernelError: In a training that is not compiled: a kernel holds NaN or infinity.
    """

    def __init__(
        self,
        optimizer: keras.optimizers.Optimizer | str,
        plan: Plan,
        every: int = 20,
        *,
        model: keras.Model | None = None,
        energy: str = "merged",
        tail: float = 0.0,
        damping: float = 0.0,
        bn_rectify: bool = True,
        engine: str = "auto",
        name: str | None = None,
    ):
        super().__init__(learning_rate=0.0, name=name)
        if isinstance(every, bool) or not isinstance(every, numbers.Integral) or every < 1:
            raise LowRankError(f"`every` must be a whole number of steps of at least 1. Received: every={every!r}")
        self.method = LRPET(energy=energy, tail=tail, damping=damping, bn_rectify=bn_rectify, engine=engine)
        self.plan = check_plan(plan)
        if not plan.layers:
            raise NothingToFactorizeError("the plan has no layers")
        if model is not None and not isinstance(model, keras.Model):
            raise UnsupportedModelError(model, "`model` is something else")
        if model is not None and model.built:
            plan.resolve(model)
        self.every = int(every)
        self._given = None if model is None else weakref.ref(model)
        self._bound: _Bound | None = None
        self.inner_optimizer = _check_optimizer(optimizer)

    weight_decay = _passed_on("weight_decay")
    clipnorm = _passed_on("clipnorm")
    clipvalue = _passed_on("clipvalue")
    global_clipnorm = _passed_on("global_clipnorm")
    use_ema = _passed_on("use_ema")
    ema_momentum = _passed_on("ema_momentum")
    ema_overwrite_frequency = _passed_on("ema_overwrite_frequency")
    gradient_accumulation_steps = _passed_on("gradient_accumulation_steps")

    @property
    def loss_scale_factor(self) -> float | None:
        """The factor by which the optimizer inside scales losses."""
        inner = self.inner_optimizer
        if isinstance(inner, LossScaleOptimizer):
            return inner.dynamic_scale if inner.built else inner.initial_scale
        return inner.loss_scale_factor

    @loss_scale_factor.setter
    def loss_scale_factor(self, value: float | None) -> None:
        if not self._is_made:
            return
        if value is None and isinstance(self.inner_optimizer, LossScaleOptimizer):
            # So a LossScaleOptimizer around this one says that the scaling is its own now.
            self.inner_optimizer = self.inner_optimizer.inner_optimizer
        else:
            self.inner_optimizer.loss_scale_factor = value

    @property
    def _is_made(self) -> bool:
        return "inner_optimizer" in vars(self)

    def _innermost(self) -> keras.optimizers.Optimizer:
        *_, innermost = _chain(self.inner_optimizer)
        return innermost

    @property
    def learning_rate(self):
        """The learning rate of the optimizer inside."""
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, value) -> None:
        self.inner_optimizer.learning_rate = value

    @property
    def iterations(self):
        """Number of updates of the weights."""
        return self.inner_optimizer.iterations

    @property
    def variables(self) -> list[keras.Variable]:
        """Where the next projection starts, and the variables of the optimizer inside."""
        return [*(self._bound.starts if self._bound else ()), *self.inner_optimizer.variables]

    def scale_loss(self, loss):
        """Scales a loss as the optimizer inside does."""
        return self.inner_optimizer.scale_loss(loss)

    def exclude_from_weight_decay(self, var_list=None, var_names=None) -> None:
        """Excludes variables from the weight decay of the optimizer inside."""
        self._innermost().exclude_from_weight_decay(var_list, var_names)

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Finds the model and its planned layers, and builds the optimizer inside.

        Args:
            variables: The trainable variables of the model.

        Raises:
            LowRankError: No compiled model has this optimizer, and none was given.
            PlanMismatchError: The plan was made for another model.
        """
        if self.built:
            return
        variables = list(variables)
        trained = _models_of(self, variables)
        given = self._given() if self._given is not None else None
        model = given if given is not None else next(iter(trained), None)
        if model is None:
            raise LowRankError(
                "ProjectingOptimizer must know the model of its plan, whose batch norms it takes into account, and there is no "
                "compiled model that has this optimizer. Compile the model with it before it is built, or give "
                "ProjectingOptimizer(optimizer, plan, model=model)."
            )
        with keras.name_scope(self.name):
            projector = Projector(model, self.plan, **dataclasses.asdict(self.method))
        if not self.inner_optimizer.built:
            self.inner_optimizer.build(variables)
        starts = [start for batch in projector.batches for start in batch.starts]
        self._bound = _Bound(projector, starts, variables, list(model.non_trainable_variables))
        self.built = True
        attach(model, self.plan)
        if keras.backend.backend() == "jax":
            for each in {id(each): each for each in (model, *trained)}.values():
                extend_train_step(each, _extended)

    def apply(self, grads, trainable_variables=None) -> None:
        """Updates the variables, and projects the planned kernels where the updates have reached a multiple of `every`."""
        if not len(grads):
            return
        if trainable_variables is not None:
            trainable_variables = list(trainable_variables)
            self.build(trainable_variables)
        before = self._period()
        self.inner_optimizer.apply(grads, trainable_variables)
        project_when_moved(self._bound.projector, self._period, before)

    def apply_gradients(self, grads_and_vars):
        """Does what `apply` does for pairs of a gradient and its variable, and returns `iterations`."""
        grads, trainable_variables = zip(*grads_and_vars, strict=True)
        self.apply(list(grads), trainable_variables)
        return self.iterations

    def stateless_apply(self, optimizer_variables, grads, trainable_variables, non_trainable_variables=None) -> tuple:
        """Does what `apply` does with values, on JAX; in `fit` the projection is made by the training step.

        Args:
            optimizer_variables: Values of `variables`.
            grads: Gradients.
            trainable_variables: Values of the variables that the optimizer was built with.
            non_trainable_variables: Values of `model.non_trainable_variables` after the forward pass, which hold the moving
                statistics of batch norms; in a loop of one's own.

        Returns:
            The new values of the trainable variables and of the optimizer's. Layers that are frozen stay as they are.

        Raises:
            LowRankError: In a loop of one's own: `non_trainable_variables` are missing.
            ValueError: The optimizer is not built, or the backend has no stateless optimizers.
        """
        if not self.built:
            raise ValueError("ProjectingOptimizer must be built first: optimizer.build(model.trainable_variables).")
        bound, count = self._bound, len(self._bound.starts)
        values = [ops.convert_to_tensor(value) for value in optimizer_variables]
        with scope_of(self.variables, values):
            before = self._period()
        trainable, inner = self.inner_optimizer.stateless_apply(values[count:], grads, trainable_variables)
        after = [*values[:count], *inner]
        if bound.leaves_projecting:
            return trainable, after
        variables, values = [*bound.trainable, *self.variables], [*trainable, *after]
        if non_trainable_variables is not None:
            variables, values = [*variables, *bound.non_trainable], [*values, *non_trainable_variables]
        check_given(bound.projector, variables)
        after = self._projected(before, variables, values)
        return after[: len(trainable)], after[len(trainable) : len(trainable) + len(self.variables)]

    def finalize_variable_values(self, var_list) -> None:
        """Puts averages in the place of the weights where the optimizer inside makes some, and projects those."""
        self.inner_optimizer.finalize_variable_values(var_list)
        innermost = self._innermost()
        averages = any(each.use_ema for each in getattr(innermost, "optimizers", [innermost]))
        if averages and self.built:
            self._bound.projector.project(when="after averaging")

    def set_weights(self, weights) -> None:
        """Sets the values of `variables`."""
        for variable, weight in zip(self.variables, weights, strict=True):
            variable.assign(weight)

    def get_config(self) -> dict:
        """Returns the configuration, the optimizer inside and the plan included; without adapters, and without the model."""
        return {
            "name": self.name,
            "optimizer": keras.saving.serialize_keras_object(self.inner_optimizer),
            "plan": json.loads(self.plan.to_json()),
            "every": self.every,
            **dataclasses.asdict(self.method),
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "ProjectingOptimizer":
        """Returns the optimizer of a configuration."""
        made = {
            "optimizer": keras.saving.deserialize_keras_object(config["optimizer"], custom_objects=custom_objects),
            "plan": Plan.from_json(json.dumps(config["plan"])),
        }
        return cls(**{**config, **made})

    def _period(self):
        """Returns how many multiples of `every` the updates have reached."""
        return ops.floor_divide(self.iterations, self.every)

    def _projected(self, before, variables: Sequence[keras.Variable], values: Sequence) -> list:
        """Returns values of variables, projected where the period is another one than before."""
        with scope_of(variables, values) as scope:
            project_in_scope(self._bound.projector, ops.not_equal(self._period(), before))
        return [scope.get_current_value(variable) for variable in variables]

    @contextlib.contextmanager
    def _projecting_later(self):
        self._bound.leaves_projecting = True
        try:
            yield
        finally:
            self._bound.leaves_projecting = False


def _check_optimizer(optimizer) -> keras.optimizers.Optimizer:
    """Returns the optimizer that something stands for."""
    try:
        found = keras.optimizers.get(optimizer)
    except ValueError:
        found = None
    if not isinstance(found, keras.optimizers.Optimizer):
        raise LowRankError(
            "Expected a Keras optimizer such as keras.optimizers.SGD(0.1), or the name of one. "
            f"Received: optimizer={optimizer!r}"
        )
    if any(isinstance(each, ProjectingOptimizer) for each in _chain(found)):
        raise LowRankError("The optimizer is a ProjectingOptimizer already; give the one inside: optimizer.inner_optimizer.")
    return found


def _models_of(optimizer: ProjectingOptimizer, variables: Sequence[keras.Variable]) -> list[keras.Model]:
    """Returns the models that are compiled with an optimizer and hold variables: Keras does not tell it of its model."""
    wanted = {id(variable) for variable in variables}
    models = [each for each in gc.get_objects() if issubclass(type(each), keras.Model)]
    return [
        model
        for model in models
        if any(each is optimizer for each in _chain(vars(model).get("optimizer")))
        and wanted <= {id(variable) for variable in model.trainable_variables}
    ]


def _extended(model: keras.Model, train_step: Callable) -> Callable:
    """Returns a training step of a JAX model that projects the values it returns, if the model has such an optimizer."""
    optimizer = next((each for each in _chain(model.optimizer) if isinstance(each, ProjectingOptimizer)), None)
    if optimizer is None:
        return train_step

    def projecting_train_step(state, data):
        with optimizer._projecting_later():
            logs, (trainable, non_trainable, optimizer_values, *rest) = train_step(state, data)
        with scope_of(model.optimizer.variables, state[2]):
            before = optimizer._period()
        groups = (model.trainable_variables, model.non_trainable_variables, model.optimizer.variables)
        variables = [variable for group in groups for variable in group]
        projected = iter(optimizer._projected(before, variables, [*trainable, *non_trainable, *optimizer_values]))
        return logs, (*([next(projected) for _ in group] for group in groups), *rest)

    return projecting_train_step
