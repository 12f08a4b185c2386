"""Factorizes a model once it is trained, fine-tunes the small model, and tells what that gains.

    python -m examples.cifar10.train --experiment=examples/cifar10/experiments/resnet20_dense.json
    python -m examples.cifar10.finetune

The model may be trained dense or low-rank. For each rank it measures the test accuracy as cut, with recalibrated batch norms,
and after a few epochs of `fit` on the factorized model with a small, falling learning rate. For comparison the model that was
given is trained on in the same way. The accuracy is that of the last epoch, never of the best one. An interrupted run goes on
where it stopped when the same command is given again. The fine-tuned models are left as `last.keras` in folders under
`finetune`, beside the model.
"""

import json
import pathlib
import re
import time
import zlib

import keras
from absl import app, flags, logging

import lrpet_tf as lrpet
from examples.cifar10 import data, folders, training
from examples.cifar10.outcome import accuracy, write_json
from lrpet_tf.report import megas, render

_MODEL = flags.DEFINE_string("model", "runs/cifar10/resnet20_dense/final.keras", "The model of a run of train.py.")
_RANKS = flags.DEFINE_multi_string("rank", ["0.46", "MacsBudget(0.5)"], "A share or a rule; may be given several times.")
_EXCLUDE = flags.DEFINE_multi_string("exclude", ["logits"], "Pattern of layers to leave as they are.")
_EPOCHS = flags.DEFINE_integer("epochs", 2, "Epochs of the fine-tuning.", lower_bound=1)
_LEARNING_RATE = flags.DEFINE_float("learning_rate", 0.02, "Learning rate at the start; it falls to zero as a cosine.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 128, "Images a batch.", lower_bound=1)
_STEPS = flags.DEFINE_integer("recalibration_steps", 50, "Batches to recalibrate the batch norms on.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 1, "Seed of the shuffling and of the augmentation.")

_AS_GIVEN = "not factorized"


class _Seconds(keras.callbacks.Callback):
    """Adds to the logs how long each epoch took, its validation included."""

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        logs["seconds"] = time.perf_counter() - self._start


def fine_tune(small: keras.Model, settings: dict, folder: pathlib.Path, train, test) -> keras.Model:
    """Trains a model for a few epochs, or goes on with that, as any other Keras model.

    Args:
        small: The factorized model. It is trained in place, unless a run that was interrupted goes on.
        settings: epochs, batch_size, learning_rate and seed.
        folder: Where the checkpoint and the history go.
        train: Training images in uint8, and labels.
        test: Normalised test images, and labels.

    Returns:
        The trained model.
    """
    folder.mkdir(parents=True, exist_ok=True)
    steps = len(train[1]) // settings["batch_size"]
    interrupted = training.last(folder)
    if interrupted is not None:
        small = interrupted
    else:
        small.compile(
            training.optimizer(settings["learning_rate"], settings["epochs"], steps),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            jit_compile=False,
        )
    first_epoch = training.epochs_done(small, steps)
    batches = data.augmented_batches(
        *train, batch_size=settings["batch_size"], seed=settings["seed"], first_epoch=first_epoch
    )  # fmt: skip
    small.fit(
        batches, steps_per_epoch=steps, initial_epoch=first_epoch, epochs=settings["epochs"],
        validation_data=test, validation_batch_size=500, callbacks=[_Seconds(), *training.keep(small, folder)], verbose=2,
    )  # fmt: skip
    return small


def run(settings: dict, data_dir: str | None) -> dict:
    """Cuts and fine-tunes a model at each of the ranks.

    Args:
        settings: model, ranks, exclude, epochs, batch_size, learning_rate, recalibration_steps and seed. The model is a
            `.keras` file; the fine-tuned ones go to the folder `finetune` beside it.
        data_dir: Folder of TensorFlow Datasets.

    Returns:
        The settings, what the model is as given and trained on, and by rank what it is when factorized: accuracies, costs, and
        the history by epoch.
    """
    keras.utils.set_random_seed(settings["seed"])
    train = data.load("train", data_dir)
    images, labels = data.load("test", data_dir)
    test = data.normalise(images), labels
    given = keras.models.load_model(settings["model"], compile=False)
    return {
        "settings": settings,
        "keras": keras.version(),
        "backend": keras.backend.backend(),
        "not_factorized": {
            "macs": lrpet.count_macs(given),
            "params": lrpet.count_params(given),
            "test_accuracy": accuracy(given, *test),
            **_fine_tuned(given, settings, _folder(settings, _AS_GIVEN), train, test),
        },
        "factorized": [_factorized(settings, rank, train, test) for rank in settings["ranks"]],
    }


def _factorized(settings: dict, rank: str, train, test) -> dict:
    model = keras.models.load_model(settings["model"], compile=False)
    plan = lrpet.make_plan(model, rank, exclude=settings["exclude"])
    energy_kept = lrpet.Projector(model, plan).project()
    small = lrpet.factorize(model, plan)
    as_cut = accuracy(small, *test)
    batches = data.augmented_batches(*train, batch_size=settings["batch_size"], seed=settings["seed"])
    lrpet.recalibrate_batch_norms(small, batches, settings["recalibration_steps"])
    recalibrated = accuracy(small, *test)
    logging.info("%s: %.2f %% as cut, %.2f %% recalibrated", rank, 100 * as_cut, 100 * recalibrated)
    return {
        "rank": rank,
        "macs": lrpet.count_macs(small),
        "params": lrpet.count_params(small),
        "energy_kept": round(energy_kept, 6),
        "as_cut": as_cut,
        "recalibrated": recalibrated,
        **_fine_tuned(small, settings, _folder(settings, rank), train, test),
    }


def _fine_tuned(model: keras.Model, settings: dict, folder: pathlib.Path, train, test) -> dict:
    model = fine_tune(model, settings, folder, train, test)
    history = training.history(folder)
    seconds = round(sum(row["seconds"] for row in history), 1)
    return {"fine_tuned": accuracy(model, *test), "seconds": seconds, "history": history}


def _folder(settings: dict, rank: str) -> pathlib.Path:
    """Returns a folder that is another one for another model or other settings, so that no run goes on with another's."""
    path = pathlib.Path(settings["model"])
    mark = zlib.crc32(path.read_bytes() + json.dumps({**settings, "ranks": rank}, sort_keys=True).encode())
    return path.parent / "finetune" / f"{re.sub(r'[^A-Za-z0-9.]+', '_', rank).strip('_')}_{mark:08x}"


def _table(result: dict) -> str:
    given = result["not_factorized"]
    rows = [{"rank": _AS_GIVEN, "as_cut": given["test_accuracy"], "recalibrated": None, **given}, *result["factorized"]]
    cells = [
        (
            row["rank"],
            megas(row["macs"]),
            megas(row["params"]),
            *("-" if row[key] is None else f"{100 * row[key]:.2f} %" for key in ("as_cut", "recalibrated", "fine_tuned")),
            f"{row['seconds']:.0f} s",
        )
        for row in rows
    ]
    columns = ("ranks", "MACs", "weights", "as cut", "recalibrated", "fine-tuned", "fine-tuning took")
    return render(f"{result['settings']['model']}, {result['settings']['epochs']} epochs of fine-tuning", columns, cells)


def main(argv):
    """Fine-tunes the model named on the command line, prints a table and writes the result."""
    del argv
    settings = {
        "model": _MODEL.value,
        "ranks": _RANKS.value,
        "exclude": _EXCLUDE.value,
        "epochs": _EPOCHS.value,
        "batch_size": _BATCH_SIZE.value,
        "learning_rate": _LEARNING_RATE.value,
        "recalibration_steps": _STEPS.value,
        "seed": _SEED.value,
    }
    path = pathlib.Path(_MODEL.value)
    if not path.exists():
        raise app.UsageError(f"There is no {path}. examples.cifar10.train leaves one for each experiment.")
    result = run(settings, folders.DATA.value)
    target = pathlib.Path(folders.RESULTS.value) / f"{path.parent.name}_finetuned.json"
    write_json(target, result)
    print(_table(result))
    print(f"Written: {target}")


if __name__ == "__main__":
    app.run(main)
