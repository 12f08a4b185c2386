"""Projecting inside a compiled training step, on each backend."""

from collections.abc import Callable, Sequence

import keras
from keras import ops

from lrpet_tf.errors import LowRankError
from lrpet_tf.linalg import branch
from lrpet_tf.training.compiling import stateless
from lrpet_tf.training.projector import Projector


def project_when_moved(projector: Projector, period: Callable, before) -> None:
    """Projects when a period is another one than it was before: inside of a graph without raising, else as `project` does.

    Args:
        projector: Projects.
        period: Returns the present period, a tensor.
        before: What it returned before.
    """
    _PROJECTIONS[keras.backend.backend()](projector, period, before)


def _tensorflow(projector, period, before):
    import tensorflow as tf

    def step():
        projector.step()

    def project(strategy, before):
        moved = ops.not_equal(period(), strategy.experimental_local_results(before)[0])
        if not tf.executing_eagerly():
            tf.cond(moved, step, lambda: None)
        elif moved:
            projector.project()

    strategy, internal = tf.distribute.get_strategy(), tf.__internal__.distribute  # as Keras's own optimizers do
    if tf.distribute.in_cross_replica_context():
        project(strategy, before)
    elif strategy.num_replicas_in_sync > 1 and internal.strategy_supports_no_merge_call():
        raise LowRankError(
            "Replicas that are compiled together, as on TPUs or with jit_compile=True on several GPUs, cannot project in the "
            "training step. Give jit_compile=False, or use LRPETCallback(plan=plan) instead of ProjectingOptimizer."
        )
    else:  # once for all replicas, whose moving statistics may differ
        internal.interim.maybe_merge_call(project, strategy, before)


def _jax(projector, period, before):
    import jax

    moved = ops.not_equal(period(), before)
    if isinstance(moved, jax.core.Tracer):  # a value that is not traced is one of another time
        check_given(projector, [each for each in projector.reads if isinstance(each.value, jax.core.Tracer)])
        project_in_scope(projector, moved)
    elif moved:
        projector.project()


def _eager(projector, period, before):
    if period() != before:
        projector.project()


_PROJECTIONS = {"tensorflow": _tensorflow, "jax": _jax, "torch": _eager}


def project_in_scope(projector: Projector, moved) -> None:
    """Projects the variables of the present `StatelessScope`.

    Args:
        projector: Projects.
        moved: Whether to project, a boolean tensor.
    """
    writes = projector.writes
    variables = [*writes, *projector.reads]
    values = [variable.value for variable in variables]
    project = stateless(projector.step, variables, writes)
    after = branch(moved, lambda: project(values)[1], lambda: values[: len(writes)])
    for variable, value in zip(writes, after, strict=True):
        variable.assign(value)


def check_given(projector: Projector, given: Sequence[keras.Variable]) -> None:
    """Checks that all variables are given that a projection reads.

    Args:
        projector: Projects.
        given: Variables whose values a functional step was given.

    Raises:
        LowRankError: One is missing.
    """
    known = {id(variable) for variable in given}
    missing = [variable.path for variable in projector.reads if id(variable) not in known]
    if missing:
        raise LowRankError(
            f"The projection takes batch norms into account, and the value of '{missing[0]}' was not given. In a loop of your "
            "own give the values of model.non_trainable_variables: optimizer.stateless_apply(optimizer_variables, grads, "
            "trainable_variables, non_trainable_variables); or leave batch norms out with bn_rectify=False."
        )


def scope_of(variables: Sequence[keras.Variable], values: Sequence) -> keras.StatelessScope:
    """Returns a scope in which variables have other values."""
    return keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True)))


def extend_train_step(model: keras.Model, extension: Callable) -> None:
    """Lets the training steps of a JAX model be extended; once, however often it is called.

    Args:
        model: The model. Its `train_step` is a function of values, and an optimizer sees not all of them.
        extension: `extension(model, train_step)` returns what to compile in the place of a training step.
    """
    if hasattr(model.make_train_function, "_lrpet_extends"):
        return
    make = model.make_train_function

    def make_train_function(force=False):
        if model.train_function is not None and not force:
            return
        own, train_step = vars(model).get("train_step"), model.train_step
        # Anew for each compilation: JAX remembers what it compiled by the function.
        model.train_step = extension(model, train_step)
        try:
            make(force)
        finally:
            del model.train_step
            if own is not None:
                model.train_step = own

    make_train_function._lrpet_extends = True
    model.make_train_function = make_train_function
    model.train_function = None
