"""The main job in three minutes: train dense and low-rank, factorize, export, prove it.

The data are scikit-learn's handwritten digits, enlarged to 32×32, so nothing is downloaded. Run it with `make demo`, or:

    python examples/quickstart.py --rank=0.25
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pathlib
import tempfile
import time

import keras
import numpy as np
from absl import app, flags, logging
from keras import layers

import lrpet_tf as lrpet
from lrpet_tf.report import kilobytes, megas, render, save_spectra

_RANK = flags.DEFINE_float("rank", 0.25, "Share of each layer's full rank that is kept.")
_EPOCHS = flags.DEFINE_integer("epochs", 12, "Epochs of each training.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the weights and of the shuffling.")
_OUTPUT = flags.DEFINE_string("output", "runs/quickstart", "Folder of the .tflite file, the plan and the picture.")


def load_digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns training images, training labels, test images and test labels; images are `(n, 32, 32, 1)` in [0, 1]."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8, 1) / 16).astype("float32")
    images = keras.ops.convert_to_numpy(keras.ops.image.resize(images, (32, 32), interpolation="bilinear"))
    train, test, train_labels, test_labels = train_test_split(
        images, labels, test_size=0.3, random_state=0, stratify=labels
    )  # fmt: skip
    return train, train_labels, test, test_labels


def build_model(seed: int) -> keras.Model:
    """Returns a small convolutional network, compiled."""
    keras.utils.set_random_seed(seed)
    inputs = x = keras.Input((32, 32, 1), name="image")
    for index, (filters, strides) in enumerate([(32, 2), (64, 1), (64, 2), (128, 1), (128, 2), (128, 1)], start=1):
        x = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False, name=f"conv{index}")(x)
        x = layers.ReLU(name=f"relu{index}")(layers.BatchNormalization(momentum=0.9, name=f"bn{index}")(x))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(inputs, layers.Dense(10, name="logits")(x), name="digits")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(2e-3), loss, metrics=["accuracy"])
    return model


def train(model: keras.Model, data, callbacks, epochs: int) -> None:
    """Trains a model with a cosine schedule, and shows the progress."""
    images, labels, test_images, test_labels = data
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch: 2e-3 * 0.5 * (1 + np.cos(np.pi * epoch / epochs)))
    model.fit(
        images, labels, batch_size=64, epochs=epochs, validation_data=(test_images, test_labels),
        callbacks=[*callbacks, schedule], verbose=2,
    )  # fmt: skip


def accuracy(model: keras.Model, data) -> float:
    """Returns the share of test images that a model gets right."""
    _, _, images, labels = data
    return float(np.mean(np.argmax(model.predict(images, verbose=0), axis=-1) == labels))


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
    report = lrpet.export_tflite(small, output / "digits.tflite", reference=dense, samples=data[2])
    with tempfile.TemporaryDirectory() as folder:  # the dense model's own proof, for the table
        dense_report = lrpet.export_tflite(dense, pathlib.Path(folder) / "dense.tflite", samples=data[2])
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
    columns = ("", "test accuracy", "MACs", "weights", ".tflite", "latency", "ratio", "file against Keras model")
    title = f"Handwritten digits, {_EPOCHS.value} epochs each, seed {_SEED.value}"
    print(render(title, columns, rows))
    print("Latency: median of one image on one thread of this machine, the two files in turns.")
    print(f"Written: {report.path}, {picture}, {output / 'plan.json'}")
    print(f"Took {time.perf_counter() - start:.0f} s.")


def _row(name, model, share, figures, report, ratio) -> tuple[str, ...]:
    return (
        name,
        f"{100 * share:.1f} %",
        megas(lrpet.count_macs(model)),
        megas(lrpet.count_params(model)),
        kilobytes(figures.size_bytes),
        f"{figures.latency_ms:.3f} ms",
        f"{ratio:.2f}",
        f"{report.relative_difference:.0e} of scale",
    )


if __name__ == "__main__":
    app.run(main)
