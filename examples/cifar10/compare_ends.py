"""Which last projection is best: with or without energy transfer, with or without recalibrated batch norms.

    python -m examples.cifar10.compare_ends

It takes the models that `train.py` saved just before the last projection, projects each in all four ways, and writes the test
accuracies. Run the experiments `resnet20_lrpet_046` and `resnet20_dense` first.
"""

import pathlib

import keras
from absl import app, flags

import lrpet_tf as lrpet
from examples.cifar10 import data, folders, models
from examples.cifar10.outcome import accuracy, write_json
from lrpet_tf.report import render

_RESULT = flags.DEFINE_string("result", "examples/cifar10/results/resnet20_ends.json", "The JSON file to write.")
_STEPS = flags.DEFINE_integer("steps", 50, "Batches of 128 augmented training images to recalibrate on.")

_STARTS = {"trained with LRPET": "resnet20_lrpet_046", "trained dense, cut once": "resnet20_dense"}


def _before_projection(name: str) -> keras.Model:
    saved = keras.models.load_model(pathlib.Path(folders.RUNS.value) / name / "before_projection.keras")
    model = models.resnet(20, weight_decay=0)
    model.set_weights(saved.get_weights())
    return model


def _row(start: str, energy: str, recalibrate: bool, train, test) -> dict:
    model = _before_projection(_STARTS[start])
    plan = lrpet.make_plan(model, 0.46, exclude="logits")
    kept = lrpet.Projector(model, plan, energy=energy).project()
    if recalibrate:
        lrpet.recalibrate_batch_norms(model, data.augmented_batches(*train, batch_size=128, seed=0), _STEPS.value)
    return {
        "start": start,
        "energy": energy,
        "recalibrated": recalibrate,
        "energy_kept": round(kept, 6),
        "test_accuracy": accuracy(lrpet.factorize(model, plan), *test),
    }


def main(argv):
    """Measures the four ends from both starts and prints a table."""
    del argv
    train = data.load("train", folders.DATA.value)
    images, labels = data.load("test", folders.DATA.value)
    test = data.normalise(images), labels
    rows = [
        _row(start, energy, recalibrate, train, test)
        for start in _STARTS
        for energy in ("merged", "none")
        for recalibrate in (False, True)
    ]
    write_json(pathlib.Path(_RESULT.value), {"share": 0.46, "recalibration_batches": _STEPS.value, "ends": rows})
    cells = [
        (row["start"], row["energy"], "yes" if row["recalibrated"] else "no", f"{100 * row['test_accuracy']:.2f} %")
        for row in rows
    ]
    print(render("The last projection", ("start", "energy", "recalibrated", "test accuracy"), cells, text_columns=3))


if __name__ == "__main__":
    app.run(main)
