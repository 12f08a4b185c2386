"""Runs one CIFAR-10 experiment, described by a small JSON file, and writes its result as JSON.

    python -m examples.cifar10.train --experiment=examples/cifar10/experiments/resnet20_lrpet_046.json

A run that was interrupted goes on where it stopped when the same command is given again. The accuracy reported is that of
the last epoch, never of the best one: choosing a checkpoint by its test accuracy would overstate every method.
"""

import json
import pathlib

import keras
from absl import app, flags, logging

import lrpet_tf as lrpet
from examples.cifar10 import data, folders, models, training
from examples.cifar10.outcome import accuracy, write_json

_EXPERIMENT = flags.DEFINE_string("experiment", None, "JSON file that describes the run.", required=True)

_PLAN_OPTIONS = ("rank", "decomposition", "include", "exclude", "keep_if_no_gain", "replan_every")


def _compiled_model(settings: dict, steps_per_epoch: int) -> keras.Model:
    keras.config.set_dtype_policy(settings["dtype_policy"])
    model = models.MODELS[settings["model"]](weight_decay=settings["weight_decay"])
    keras.config.set_dtype_policy("float32")
    model.compile(
        training.optimizer(settings["learning_rate"], settings["epochs"], steps_per_epoch, settings["warmup_epochs"]),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )
    return model


def _callbacks(settings: dict, model: keras.Model, folder: pathlib.Path) -> list[keras.callbacks.Callback]:
    before_projection = keras.callbacks.LambdaCallback(
        on_test_begin=lambda logs: training.save(model, folder / "before_projection.keras")
    )
    low_rank = [] if settings["lrpet"] is None else _low_rank(settings["lrpet"], folder / "plan.json")
    return [before_projection, *low_rank, *training.keep(model, folder)]


def _low_rank(options: dict, file: pathlib.Path) -> list[keras.callbacks.Callback]:
    """Returns the LRPET callback, and one that saves its plan: a run that is taken up again goes on with the same ranks."""
    if file.exists():
        options = {key: value for key, value in options.items() if key not in _PLAN_OPTIONS}
        callback = lrpet.LRPETCallback(plan=lrpet.Plan.load(file), **options)
    else:
        callback = lrpet.LRPETCallback(**options)

    def save(epoch, logs):
        if callback.plan is not None:
            callback.plan.save(file)

    return [callback, keras.callbacks.LambdaCallback(on_epoch_end=save)]


def _in_float32(model: keras.Model, settings: dict) -> keras.Model:
    """Returns the same network and weights in float32, whatever precision the training used."""
    exact = models.MODELS[settings["model"]](weight_decay=0)
    exact.set_weights(model.get_weights())
    return exact


def run(settings: dict, folder: pathlib.Path, data_dir: str | None) -> dict:
    """Trains, or goes on training, and returns the result.

    Args:
        settings: The experiment: model, epochs, batch_size, learning_rate, warmup_epochs, weight_decay, dtype_policy, seed,
            and `lrpet`: the arguments of `LRPETCallback`, or `None` for a dense model.
        folder: Where the checkpoints, the history and the final model go.
        data_dir: Folder of TensorFlow Datasets.

    Returns:
        The settings, the accuracy of the final, factorized model in float32, its costs, and the history by epoch.
    """
    folder.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(settings["seed"])
    train, train_labels = data.load("train", data_dir)
    images, labels = data.load("test", data_dir)
    images = data.normalise(images)
    steps = len(train_labels) // settings["batch_size"]
    model = training.last(folder) or _compiled_model(settings, steps)
    first_epoch = training.epochs_done(model, steps)
    callbacks = _callbacks(settings, model, folder)
    batches = data.augmented_batches(
        train, train_labels, batch_size=settings["batch_size"], seed=settings["seed"], first_epoch=first_epoch
    )
    model.fit(
        batches, steps_per_epoch=steps, initial_epoch=first_epoch, epochs=settings["epochs"],
        validation_data=(images, labels), validation_batch_size=500, callbacks=callbacks, verbose=2,
    )  # fmt: skip
    plan = next((callback.plan for callback in callbacks if hasattr(callback, "plan")), None)
    final = _in_float32(model, settings)
    final.save(folder / "final.keras")
    if plan is not None:
        final = lrpet.factorize(final, plan)
    return {
        "experiment": settings,
        "keras": keras.version(),
        "backend": keras.backend.backend(),
        "test_accuracy": accuracy(final, images, labels),
        "macs": lrpet.count_macs(final),
        "params": lrpet.count_params(final),
        "history": training.history(folder),
    }


def main(argv):
    """Runs the experiment named on the command line."""
    del argv
    path = pathlib.Path(_EXPERIMENT.value)
    settings = json.loads(path.read_text())
    result = run(settings, pathlib.Path(folders.RUNS.value) / path.stem, folders.DATA.value)
    target = pathlib.Path(folders.RESULTS.value) / path.name
    write_json(target, result)
    logging.info("%s: test accuracy %.2f %%, written to %s", path.stem, 100 * result["test_accuracy"], target)


if __name__ == "__main__":
    app.run(main)
