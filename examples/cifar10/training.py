"""What the trainings share: the falling learning rate, and checkpoints from which an interrupted run goes on."""

import csv
import pathlib

import keras


def optimizer(learning_rate: float, epochs: int, steps_per_epoch: int, warmup_epochs: int = 0) -> keras.optimizers.Optimizer:
    """Returns SGD with Nesterov momentum, whose learning rate falls to zero as a cosine.

    Args:
        learning_rate: The largest learning rate.
        epochs: Epochs of the training.
        steps_per_epoch: Batches an epoch.
        warmup_epochs: Epochs, among these, in which the learning rate rises from zero first.
    """
    warmup = warmup_epochs * steps_per_epoch
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else learning_rate,
        decay_steps=epochs * steps_per_epoch - warmup,
        warmup_target=learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    return keras.optimizers.SGD(schedule, momentum=0.9, nesterov=True)


def save(model: keras.Model, path: pathlib.Path) -> None:
    """Saves a model, whole or not at all."""
    partial = path.with_name(f"partial_{path.name}")
    model.save(partial)
    partial.replace(path)


def last(folder: pathlib.Path) -> keras.Model | None:
    """Returns the model after the last finished epoch of a run, or `None` where none was finished."""
    path = folder / "last.keras"
    return keras.models.load_model(path) if path.exists() else None


def epochs_done(model: keras.Model, steps_per_epoch: int) -> int:
    """Returns the number of epochs that a compiled model was trained for."""
    return int(keras.ops.convert_to_numpy(model.optimizer.iterations)) // steps_per_epoch


def keep(model: keras.Model, folder: pathlib.Path) -> list[keras.callbacks.Callback]:
    """Returns the callbacks, to come last, that keep each epoch's log and model in the folder of a run."""
    log = keras.callbacks.CSVLogger(str(folder / "history.csv"), append=True)
    return [log, keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: save(model, folder / "last.keras"))]


def history(folder: pathlib.Path) -> list[dict]:
    """Returns the logs of a run, one dict an epoch."""
    with (folder / "history.csv").open() as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    rows = {row["epoch"]: row for row in rows}.values()  # an epoch that was interrupted after its line was written comes twice
    return [{key: int(value) if key == "epoch" else round(value, 5) for key, value in row.items()} for row in rows]
