"""The main job in three minutes: train dense and low-rank, factorize, export, prove it.

The data are scikit-learn's handwritten digits, enlarged to 32×32, so nothing is downloaded. Run it with `make demo`, or:

    python examples/quickstart.py --rank=0.25
    python examples/quickstart.py --quantize=int8
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pathlib
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))  # so that it also runs from a clone that is not installed

import keras
import numpy as np
from absl import app, flags, logging

import lrpet_tf as lrpet
from examples.digits import accuracy, build_model, load_digits, train
from lrpet_tf.report import kilobytes, megas, render, save_spectra

_RANK = flags.DEFINE_float("rank", 0.25, "Share of each layer's full rank that is kept.")
_EPOCHS = flags.DEFINE_integer("epochs", 12, "Epochs of each training.")
_QUANTIZE = flags.DEFINE_enum(
    "quantize", "none", ["none", "float16", "dynamic", "int8", "int8_io", "int16x8"], "How the files are quantized."
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the weights and of the shuffling.")
_OUTPUT = flags.DEFINE_string("output", "runs/quickstart", "Folder of the .tflite file, the plan and the picture.")


def spectra(model: keras.Model, plan: lrpet.Plan) -> dict[str, np.ndarray]:
    """Returns the singular values of the planned kernels."""
    kernels = {layer.path: keras.ops.convert_to_numpy(model.get_layer(layer.path).kernel) for layer in plan.layers}
    return {path: lrpet.linalg.singular_values(kernel.reshape(-1, kernel.shape[-1])) for path, kernel in kernels.items()}


def main(argv):
    """Runs the whole job and prints one table."""
    del argv
    logging.set_verbosity(logging.WARNING)
    start = time.perf_counter()
    output = pathlib.Path(_OUTPUT.value)
    output.mkdir(parents=True, exist_ok=True)
    data = load_digits()

    print("\n1. The dense model")
    dense = build_model(_SEED.value)
    train(dense, data, [], _EPOCHS.value)

    print(f"\n2. The same with LRPETCallback(rank={_RANK.value:g})")
    model = build_model(_SEED.value)
    callback = lrpet.LRPETCallback(rank=_RANK.value, exclude="logits")
    train(model, data, [callback], _EPOCHS.value)
    plan = callback.plan
    print(plan)
    plan.save(output / "plan.json")

    print("\n3. Factorize, export, compare")
    small = lrpet.factorize(model)
    options = {
        "quantize": None if _QUANTIZE.value == "none" else _QUANTIZE.value,
        "representative_data": data[0],  # training images: the test images have no say in the file
        "samples": data[2:],
        "max_samples": len(data[2]),
        "info": lrpet.FileInfo(description="Tells handwritten digits apart.", labels=list("0123456789")),
    }
    report = lrpet.export_tflite(small, output / "digits.tflite", reference=dense, **options)
    print(report)
    for name in ("report.json", "report.html"):
        report.save(output / name)
    with tempfile.TemporaryDirectory() as folder:  # the dense model's own proof, for the table
        dense_report = lrpet.export_tflite(dense, pathlib.Path(folder) / "dense.tflite", **options)
    before, after = spectra(dense, plan), spectra(model, plan)
    picture = output / "spectra.png"
    save_spectra(
        picture,
        {path: {"trained dense": before[path], "trained with LRPET": after[path]} for path in before},
        {layer.path: layer.rank for layer in plan.layers},
        title="Singular values of the kernels",
    )

    rows = [
        _row("dense", dense, accuracy(dense, data), report.reference, dense_report, 1.0),
        _row("low-rank, factorized", small, accuracy(small, data), report.exported, report, report.latency_ratio),
    ]
    columns = ("", "test accuracy", "of the file", "MACs", "weights", ".tflite", "latency", "ratio", "file against Keras model")
    title = f"Handwritten digits, {_EPOCHS.value} epochs each, seed {_SEED.value}"
    print(render(title, columns, rows))
    print("Latency: median of one image on one thread of this machine, the two files in turns.")
    print(f"Written: {report.path}, {picture}, and beside them plan.json, report.json and report.html")
    print(f"Took {time.perf_counter() - start:.0f} s.")


def _row(name, model, share, figures, report, ratio) -> tuple[str, ...]:
    return (
        name,
        f"{100 * share:.1f} %",
        f"{100 * report.accuracy:.1f} %",
        megas(lrpet.count_macs(model)),
        megas(lrpet.count_params(model)),
        kilobytes(figures.size_bytes),
        f"{figures.latency_ms:.3f} ms",
        f"{ratio:.2f}",
        f"{report.relative_difference:.0e} of scale",
    )


if __name__ == "__main__":
    app.run(main)
