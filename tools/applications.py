"""Factorizes and exports every model of `keras.applications`, and writes the table of `docs/applications.md`.

    python tools/applications.py                               # what is missing or has failed
    python tools/applications.py --models=ResNet50,VGG16       # these again

All of them take about an hour and a half on 2 cores, with 16 GB of memory. Each row is written to `docs/applications.json` as
soon as it is there, so that a run that was stopped goes on where it stopped. Weights are random: the table shows what is
rewritten and that the outputs agree, not accuracies.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import dataclasses
import inspect
import json
import multiprocessing
import pathlib
import re
import tempfile
from concurrent.futures import ProcessPoolExecutor

import keras
import numpy as np
from absl import app, flags
from tqdm.auto import tqdm

import lrpet_tf as lrpet
from lrpet_tf.files import write_atomically
from lrpet_tf.report import megas

# Height and width of the images: all models can be built for it, and none shrinks them to a single position.
SIZE = 128
# Largest difference of the outputs at full rank, as a share of their scale.
TOLERANCE = 1e-5
DOCS = pathlib.Path(__file__).parents[1] / "docs"
MARK = "<!-- the table: python tools/applications.py -->"


@dataclasses.dataclass(frozen=True)
class Row:
    """One model: what was found and rewritten, and how far the outputs are apart.

    Attributes:
        model: Name of the class.
        layers: Convolutions, Dense layers and other layers with a matrix of weights.
        rewritten: How many of them are factorized at full rank.
        skipped: Why the others are not, with their number.
        macs: Multiply-accumulates, dense.
        half_macs: The same with every layer at a share of 0.5 that gains by it.
        difference: Largest difference of the outputs at full rank, as a share of their scale.
        tflite_difference: The same between the `.tflite` file and the factorized Keras model.
        error: What went wrong, if anything did; the figures are then of no meaning.
    """

    model: str
    layers: int = 0
    rewritten: int = 0
    skipped: dict[str, int] = dataclasses.field(default_factory=dict)
    macs: int = 0
    half_macs: int = 0
    difference: float = 0.0
    tflite_difference: float = 0.0
    error: str | None = None

    @property
    def is_clean(self) -> bool:
        """Whether nothing failed and the outputs agree; NaN is no agreement."""
        return self.error is None and self.difference <= TOLERANCE and self.tflite_difference <= TOLERANCE


def names() -> list[str]:
    """Returns the names of all models of the installed `keras.applications`."""
    return sorted(name for name, _ in inspect.getmembers(keras.applications, inspect.isfunction))


def build(name: str) -> keras.Model:
    """Returns a model with random weights, whose 10 outputs are logits: a softmax hides differences.

    At their initial values the blocks of a ConvNeXt are scaled by a millionth, and the outputs of a MobileNet do not depend on
    the image, so scales and offsets are random too, and the batch norms' statistics are those of some images. Their offsets
    are around 1, as otherwise a deep random model doubles the rounding of float32 every few layers.
    """
    keras.utils.set_random_seed(0)
    constructor = getattr(keras.applications, name)
    model = constructor(weights=None, input_shape=(SIZE, SIZE, 3), classes=10, classifier_activation=None)
    rng = np.random.default_rng(0)
    for layer in model._flatten_layers(include_self=False):
        offset = 1.0 if isinstance(layer, keras.layers.BatchNormalization) else 0.0
        for weight in layer._trainable_variables:
            if weight.name == "gamma":
                weight.assign(rng.uniform(0.7, 1.3, weight.shape))
            elif weight.name in ("beta", "bias"):
                weight.assign(offset + 0.1 * rng.standard_normal(weight.shape))
    lrpet.recalibrate_batch_norms(model, random_images(16, seed=0))
    return model


def random_images(count: int, seed: int) -> np.ndarray:
    """Returns images of 8 × 8 patches of random colours from 0 to 255."""
    patches = np.random.default_rng(seed).uniform(0, 255, (count, 8, 8, 3)).astype("float32")
    return patches.repeat(SIZE // 8, axis=1).repeat(SIZE // 8, axis=2)


def measure(name: str) -> Row:
    """Factorizes a model at full rank, exports it, and compares.

    Args:
        name: A class of `keras.applications`.

    Returns:
        The row of the table.
    """
    model = build(name)
    plan = lrpet.make_plan(model, 1.0, keep_if_no_gain=True)
    small = lrpet.factorize(model, plan)
    images = random_images(4, seed=1)
    expected, received = (each.predict(images, verbose=0) for each in (model, small))
    with tempfile.TemporaryDirectory() as folder:
        report = lrpet.export_tflite(small, pathlib.Path(folder) / f"{name}.tflite", samples=images)
    reasons = [layer.reason for layer in plan.skipped]
    return Row(
        model=name,
        layers=len(plan.layers) + len(plan.skipped),
        rewritten=len(plan.layers),
        skipped={reason: reasons.count(reason) for reason in sorted(set(reasons))},
        macs=plan.macs,
        half_macs=lrpet.make_plan(model, 0.5).low_rank_macs,
        difference=float(np.max(np.abs(expected - received)) / np.max(np.abs(expected))),
        tflite_difference=report.relative_difference,
    )


def measure_apart(name: str) -> Row:
    """Measures a model in a process of its own, whose memory is free afterwards; a failure becomes a row too."""
    try:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            return pool.submit(measure, name).result()
    except Exception as error:  # whatever it is, the table is to show it
        return Row(name, error=" ".join(f"{type(error).__name__}: {error}".split()))


def markdown(rows: list[Row]) -> str:
    """Returns the rows as a table."""
    lines = [
        "| model | layers | rewritten | left as they are | MACs | at share 0.5 | outputs at full rank | `.tflite` |",
        "| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        if row.error is not None:
            lines.append(f"| {row.model} | - | - | **failed**: {row.error.replace('|', '¦')} | - | - | - | - |")
            continue
        lines.append(
            f"| {row.model} | {row.layers} | {row.rewritten} | {_in_short(row.skipped)} | {megas(row.macs)} | "
            f"{megas(row.half_macs)} ({row.half_macs / row.macs:.2f}) | {row.difference:.0e} | {row.tflite_difference:.0e} |"
        )
    return "\n".join(lines) + "\n"


def _in_short(skipped: dict[str, int]) -> str:
    """Returns the reasons up to what explains them, each once."""
    counts: dict[str, int] = {}
    for reason, count in skipped.items():
        short = re.split(r" \(|: ", reason)[0]
        counts[short] = counts.get(short, 0) + count
    return "; ".join(f"{count} × {reason}" for reason, count in counts.items()) or "-"


def read(path: pathlib.Path) -> dict[str, Row]:
    """Returns the rows of a file by model; none where there is no file."""
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    return {row["model"]: Row(**row) for row in rows}


def write(rows: dict[str, Row], folder: pathlib.Path) -> None:
    """Writes the figures and the page's table."""
    ordered = [rows[name] for name in sorted(rows)]
    content = json.dumps({"rows": [dataclasses.asdict(row) for row in ordered]}, indent=2)
    write_atomically(folder / "applications.json", f"{content}\n".encode())
    page = folder / "applications.md"
    before, _ = page.read_text().split(MARK)
    write_atomically(page, f"{before}{MARK}\n{markdown(ordered)}".encode())


def run(folder: pathlib.Path, models: list[str]) -> list[str]:
    """Measures models, and writes each row as soon as it is there.

    Args:
        folder: The folder of the figures and the page.
        models: The models; if none are named, those that are missing or have failed.

    Returns:
        The models in the table that failed, or whose outputs are too far apart.
    """
    rows = {name: row for name, row in read(folder / "applications.json").items() if name in names()}
    for name in tqdm(models or [name for name in names() if name not in rows or rows[name].error is not None]):
        rows[name] = measure_apart(name)
        write(rows, folder)
    return [name for name, row in rows.items() if not row.is_clean]


def main(argv):
    """Measures what is asked for or missing."""
    del argv
    unclean = run(pathlib.Path(_DOCS.value), _MODELS.value)
    if unclean:
        raise SystemExit(f"Failed, or further apart than {TOLERANCE:.0e}: {', '.join(unclean)}")


if __name__ == "__main__":
    _MODELS = flags.DEFINE_list("models", [], "Models to measure, again if need be; by default what is missing or has failed.")
    _DOCS = flags.DEFINE_string("docs", str(DOCS), "The folder of the figures and the page.")
    app.run(main)
