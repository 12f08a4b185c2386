"""Trains a factorized model for its int8 file, and compares that with an int8 file made without training.

    python -m examples.cifar10.train --experiment=examples/cifar10/experiments/resnet20_lrpet_046.json
    python -m examples.cifar10.quantize_aware

The model of a run of `train.py` is factorized at the ranks that it was trained for. One int8 file is made of it as it is, with
ranges from training images; another one after a few epochs of quantization-aware training with a small, falling learning rate.
The accuracies of both are those of the files, run by LiteRT on the test images. An interrupted run goes on where it stopped
when the same command is given again.
"""

import json
import pathlib
import time
import zlib

import keras
import numpy as np
from absl import app, flags, logging

import lrpet_tf as lrpet
from examples.cifar10 import data, folders, training
from examples.cifar10.outcome import accuracy, write_json
from lrpet_tf.files import write_atomically
from lrpet_tf.interop.exporting import convert_quantized, run_quantized
from lrpet_tf.litert import Converted
from lrpet_tf.report import kilobytes, render

_MODEL = flags.DEFINE_string(
    "trained", "runs/cifar10/resnet20_lrpet_046/final.keras", "The model of a run of train.py, its plan.json beside it."
)
_EPOCHS = flags.DEFINE_integer("qat_epochs", 3, "Epochs of the quantization-aware training.", lower_bound=1)
_LEARNING_RATE = flags.DEFINE_float("qat_learning_rate", 0.01, "Learning rate at the start; it falls to zero as a cosine.")
_BATCH_SIZE = flags.DEFINE_integer("qat_batch_size", 128, "Images a batch.", lower_bound=1)
_IMAGES = flags.DEFINE_integer("qat_images", None, "Training images to use; all by default.", lower_bound=1)
_CALIBRATION = flags.DEFINE_integer("calibration_images", 512, "Training images that the ranges are read from.", lower_bound=1)
_SEED = flags.DEFINE_integer("qat_seed", 1, "Seed of the shuffling and of the augmentation.")


def post_training_int8(model: keras.Model, images: np.ndarray) -> Converted:
    """Converts a model to int8 without training, its ranges read from images; inputs and outputs stay float32.

    Args:
        model: A Keras model with one input and one output.
        images: Normalised images.

    Returns:
        The file's content and names.
    """
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((1, *images.shape[1:]), tf.float32, name="image")])
    def serve(image):
        return {"logits": model(image, training=False)}

    module = tf.Module()
    module.serve, module.weights = serve, [variable.value for variable in model.variables]  # they become constants
    converter = tf.lite.TFLiteConverter.from_concrete_functions([serve.get_concrete_function()], module)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in images)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return Converted(converter.convert(), ("image",), ("logits",))


def train(model, settings: dict, folder: pathlib.Path, images: np.ndarray, labels: np.ndarray, test):
    """Trains a quantization-aware model, or goes on with that.

    Args:
        model: What `quantize_aware` returned; trained in place.
        settings: epochs, batch_size, learning_rate and seed.
        folder: Where the checkpoint and the history go.
        images: Training images in uint8.
        labels: Their labels.
        test: Normalised test images, and labels.
    """
    import tensorflow as tf
    import tf_keras

    steps, epochs = len(labels) // settings["batch_size"], settings["epochs"]
    schedule = tf_keras.optimizers.schedules.CosineDecay(settings["learning_rate"], epochs * steps)
    optimizer = tf_keras.optimizers.SGD(schedule, momentum=0.9, nesterov=True)
    model.compile(optimizer, tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    optimizer.build(model.trainable_variables)
    kept = tf.train.CheckpointManager(tf.train.Checkpoint(model=model, optimizer=optimizer), folder / "checkpoint", 1)
    kept.restore_or_initialize()
    log = tf_keras.callbacks.CSVLogger(str(folder / "history.csv"), append=True)
    for epoch in range(int(optimizer.iterations.numpy()) // steps, epochs):
        batches = data.augmented_batches(
            images, labels, batch_size=settings["batch_size"], seed=settings["seed"], first_epoch=epoch
        )
        model.fit(
            batches, steps_per_epoch=steps, initial_epoch=epoch, epochs=epoch + 1, validation_data=test,
            validation_batch_size=500, callbacks=[log], verbose=2,
        )  # fmt: skip
        kept.save(epoch)


def _file_accuracy(converted: Converted, images: np.ndarray, labels: np.ndarray) -> float:
    (logits,) = run_quantized(converted, [images])
    return float(np.mean(np.argmax(logits, axis=-1) == labels))


def run(settings: dict, data_dir: str | None) -> dict:
    """Makes both int8 files and measures them.

    Args:
        settings: model, epochs, learning_rate, batch_size, images, calibration_images and seed.
        data_dir: Folder of TensorFlow Datasets.

    Returns:
        The settings, and accuracies, sizes and the history by epoch.
    """
    keras.utils.set_random_seed(settings["seed"])
    images, labels = (each[: settings["images"]] for each in data.load("train", data_dir))
    test, test_labels = data.load("test", data_dir)
    test = data.normalise(test)
    path = pathlib.Path(settings["model"])
    plan = path.with_name("plan.json")
    small = lrpet.factorize(keras.models.load_model(path, compile=False), lrpet.Plan.load(plan) if plan.exists() else None)
    folder = _folder(settings)
    calibration = data.normalise(images[: settings["calibration_images"]])

    untrained = post_training_int8(small, calibration)
    write_atomically(folder / "post_training.tflite", untrained.content)
    aware = lrpet.interop.quantize_aware(small, representative_data=calibration)
    at_start = accuracy(aware, test, test_labels)
    logging.info("Quantization-aware, before any training: %.2f %%", 100 * at_start)
    start = time.perf_counter()
    train(aware, settings, folder, images, labels, (test, test_labels))
    seconds = time.perf_counter() - start
    report = lrpet.interop.export_quantized(aware, folder / "quantization_aware.tflite", samples=test)
    return {
        "settings": settings,
        "keras": keras.version(),
        "macs": lrpet.count_macs(small),
        "params": lrpet.count_params(small),
        "float": accuracy(small, test, test_labels),
        "post_training": {
            "test_accuracy": _file_accuracy(untrained, test, test_labels),
            "size_bytes": len(untrained.content),
        },
        "quantization_aware": {
            "at_start": at_start,
            "trained": accuracy(aware, test, test_labels),
            "test_accuracy": _file_accuracy(convert_quantized(aware), test, test_labels),
            "size_bytes": report.size_bytes,
            "top1_agreement": report.parity[0].top1_agreement,
            "float_afterwards": accuracy(lrpet.interop.from_tf_keras(aware, small), test, test_labels),
            "seconds": round(seconds, 1),
            "history": training.history(folder),
        },
    }


def _folder(settings: dict) -> pathlib.Path:
    """Returns a folder that is another one for another model or other settings, so that no run goes on with another's."""
    path = pathlib.Path(settings["model"])
    mark = zlib.crc32(path.read_bytes() + json.dumps(settings, sort_keys=True).encode())
    folder = path.parent / "quantize_aware" / f"{mark:08x}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _table(result: dict) -> str:
    before, after = result["post_training"], result["quantization_aware"]
    rows = [
        ("float32", result["float"], None),
        ("int8, after training", before["test_accuracy"], before["size_bytes"]),
        (f"int8, {result['settings']['epochs']} epochs of training for it", after["test_accuracy"], after["size_bytes"]),
        ("float32, with the weights of these", after["float_afterwards"], None),
    ]
    cells = [(name, f"{100 * share:.2f} %", "-" if size is None else kilobytes(size)) for name, share, size in rows]
    return render(result["settings"]["model"], ("", "test accuracy", "file"), cells)


def main(argv):
    """Compares the two int8 files of the model named on the command line, prints a table and writes the result."""
    del argv
    settings = {
        "model": _MODEL.value,
        "epochs": _EPOCHS.value,
        "learning_rate": _LEARNING_RATE.value,
        "batch_size": _BATCH_SIZE.value,
        "images": _IMAGES.value,
        "calibration_images": _CALIBRATION.value,
        "seed": _SEED.value,
    }
    path = pathlib.Path(_MODEL.value)
    if not path.exists():
        raise app.UsageError(f"There is no {path}. examples.cifar10.train leaves one for each experiment.")
    result = run(settings, folders.DATA.value)
    target = pathlib.Path(folders.RESULTS.value) / f"{path.parent.name}_quantized.json"
    write_json(target, result)
    print(_table(result))
    print(f"Written: {target}")


if __name__ == "__main__":
    app.run(main)
