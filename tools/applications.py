"""Factorizes and exports the models of `keras.applications`, and writes the table of `docs/applications.md`.

    python tools/applications.py                       # all of them, about half an hour on 2 cores
    python tools/applications.py --models=ResNet50,VGG16

Weights are random: the table shows what is rewritten and that the outputs agree, not accuracies.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import dataclasses
import pathlib
import tempfile

import keras
import numpy as np
from absl import app, flags
from tqdm.auto import tqdm

import lrpet_tf as lrpet
from lrpet_tf.report import megas

# The smallest comfortable image of each family; the parity and the counts do not depend on it in kind.
SIZES = {
    "DenseNet121": 64,
    "EfficientNetB0": 64,
    "InceptionV3": 96,
    "MobileNet": 64,
    "MobileNetV2": 64,
    "MobileNetV3Small": 64,
    "ResNet50": 64,
    "ResNet50V2": 64,
    "VGG16": 32,
    "Xception": 96,
    "ConvNeXtTiny": 64,
    "EfficientNetV2B0": 64,
    "NASNetMobile": 64,
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One model: what was found and rewritten, and how far the outputs are apart.

    Attributes:
        model: Name of the class.
        size: Height and width of the images.
        layers: Convolutions, Dense layers and other layers with a matrix of weights.
        rewritten: How many of them are factorized at full rank.
        skipped: Why the others are not, with their number.
        macs: Multiply-accumulates, dense.
        half_macs: The same with every layer at a share of 0.5 that gains by it.
        difference: Largest difference of the outputs at full rank, as a share of their scale.
        tflite_difference: The same between the `.tflite` file and the factorized Keras model.
    """

    model: str
    size: int
    layers: int
    rewritten: int
    skipped: dict[str, int]
    macs: int
    half_macs: int
    difference: float
    tflite_difference: float


def build(name: str, size: int) -> keras.Model:
    """Returns a model with random weights and lively batch norms, whose 10 outputs are logits: a softmax hides differences."""
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), classes=10, classifier_activation=None)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            channels = layer.moving_mean.shape
            layer.moving_mean.assign(0.1 * rng.standard_normal(channels))
            layer.moving_variance.assign(rng.uniform(0.7, 1.3, channels))
    return model


def measure(name: str, size: int, folder: pathlib.Path) -> Row:
    """Factorizes a model at full rank, exports it, and compares.

    Args:
        name: A class of `keras.applications`.
        size: Height and width of the images.
        folder: Where the `.tflite` file goes.

    Returns:
        The row of the table.
    """
    model = build(name, size)
    plan = lrpet.make_plan(model, 1.0, keep_if_no_gain=True)
    small = lrpet.factorize(model, plan)
    images = np.random.default_rng(1).uniform(0, 255, (4, size, size, 3)).astype("float32")
    expected, received = (each.predict(images, verbose=0) for each in (model, small))
    report = lrpet.export_tflite(small, folder / f"{name}.tflite", samples=images)
    reasons = [layer.reason for layer in plan.skipped]
    return Row(
        model=name,
        size=size,
        layers=len(plan.layers) + len(plan.skipped),
        rewritten=len(plan.layers),
        skipped={reason: reasons.count(reason) for reason in sorted(set(reasons))},
        macs=plan.macs,
        half_macs=lrpet.make_plan(model, 0.5).low_rank_macs,
        difference=float(np.max(np.abs(expected - received)) / np.max(np.abs(expected))),
        tflite_difference=report.relative_difference,
    )


def markdown(rows: list[Row]) -> str:
    """Returns the rows as a table."""
    lines = [
        "| model | image | layers | rewritten | left as they are | MACs | at share 0.5 | outputs at full rank | `.tflite` |",
        "| --- | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        skipped = "; ".join(f"{count} × {reason}" for reason, count in row.skipped.items()) or "-"
        ratio = row.half_macs / row.macs
        lines.append(
            f"| {row.model} | {row.size} | {row.layers} | {row.rewritten} | {skipped} | {megas(row.macs)} | "
            f"{megas(row.half_macs)} ({ratio:.2f}) | {row.difference:.0e} | {row.tflite_difference:.0e} |"
        )
    return "\n".join(lines) + "\n"


def main(argv):
    """Measures the models, and writes the results and the table."""
    del argv
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in tqdm(_MODELS.value or list(SIZES)):
            rows.append(measure(name, SIZES[name], pathlib.Path(folder)))
            keras.utils.clear_session()
    print(markdown(rows))
    if _PAGE.value:
        page = pathlib.Path(_PAGE.value)
        before, _ = page.read_text().split(_MARK)
        page.write_text(before + _MARK + "\n" + markdown(rows))


_MARK = "<!-- the table: python tools/applications.py -->"

if __name__ == "__main__":
    _MODELS = flags.DEFINE_list("models", [], "Names of the models; all by default.")
    _PAGE = flags.DEFINE_string("page", "docs/applications.md", "The page whose table is replaced; empty for none.")
    app.run(main)
