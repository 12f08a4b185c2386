"""Carrying the compilation of a model over to a copy of it."""

import keras


def carry_compilation(source: keras.Model, copy: keras.Model) -> None:
    """Compiles a copy as its source: loss, metrics, configuration of the optimizer, and how steps are run.

    The optimizer starts afresh: its slots belong to other weights. Loss, metrics and optimizer are copies where they are
    objects.

    Args:
        source: A model.
        copy: A model with the same outputs.
    """
    config = getattr(source, "_compile_config", None)
    if not source.compiled or config is None:
        return
    arguments = {key: _copied(value) for key, value in config.config.items()}
    if arguments.get("optimizer") is not None:  # a schedule of the user's own needs no registration this way
        arguments["optimizer"] = _fresh_optimizer(source.optimizer)
    keras.Model.compile(copy, **arguments)  # not an override of the user's, whose arguments may be others
    if getattr(source.optimizer, "built", False):
        copy.optimizer.build(copy.trainable_variables)


def _fresh_optimizer(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Returns an optimizer of the same configuration; for one that projects, that of the one inside."""
    if hasattr(optimizer, "plan"):
        return _fresh_optimizer(optimizer.inner_optimizer)
    config = optimizer.get_config()
    if hasattr(optimizer, "inner_optimizer"):
        return type(optimizer)(**{**config, "inner_optimizer": _fresh_optimizer(optimizer.inner_optimizer)})
    schedule = getattr(optimizer, "_learning_rate", None)
    if isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        config["learning_rate"] = schedule
    return type(optimizer).from_config(config)


def _copied(value):
    """Returns losses and metrics that share no state with those of the source, in the same structure."""
    if isinstance(value, dict):
        return {key: _copied(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copied(each) for each in value]
    if isinstance(value, keras.metrics.Metric):
        return type(value).from_config(value.get_config())
    return value
