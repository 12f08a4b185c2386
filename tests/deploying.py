"""A small factorized net and its files, to be run by the examples of deployment."""

import pathlib
from typing import NamedTuple

import keras
import numpy as np
from keras import layers

import lrpet_tf as lrpet
from lrpet_tf.litert import convert

# The largest difference to the Keras model, as a share of the largest output.
TOLERANCES = {"float32": 1e-5, "float16": 2e-3, "any_batch": 1e-5, "int8": 0.05, "int8_io": 0.05}


class Files(NamedTuple):
    """What `write` wrote: `name.tflite` for each name, `samples.npy`, and what the Keras model says of them."""

    folder: pathlib.Path
    samples: np.ndarray
    expected: np.ndarray

    def path(self, name: str) -> pathlib.Path:
        return self.folder / f"{name}.tflite"


def dense_net() -> keras.Model:
    """Returns convolutions with batch norms that do something, a pooling and a head."""
    keras.utils.set_random_seed(3)
    inputs = x = keras.Input((16, 16, 3), name="image")
    for index, filters in enumerate((16, 32, 32)):
        x = layers.Conv2D(filters, 3, strides=2 if index == 1 else 1, padding="same", use_bias=False, name=f"conv{index}")(x)
        x = layers.ReLU()(layers.BatchNormalization(name=f"bn{index}")(x))
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(10, name="scores")(x), name="deployed")
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if layer.name.startswith("bn"):
            layer.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
    return model


def factorized_net() -> keras.Model:
    """Returns the same at half rank."""
    model = dense_net()
    plan = lrpet.make_plan(model, 0.5)
    lrpet.Projector(model, plan).project()
    return lrpet.factorize(model, plan)


def write(folder: pathlib.Path, names=tuple(TOLERANCES)) -> Files:
    """Writes some of the files."""
    model = factorized_net()
    samples = np.random.default_rng(1).standard_normal((6, *model.input_shape[1:])).astype("float32")
    makers = {
        "float32": lambda: convert(model).content,
        "float16": lambda: convert(model, quantize="float16").content,
        "any_batch": lambda: convert(model, batch_size=None).content,
        "int8": lambda: _int8(model, samples, "float32"),
        "int8_io": lambda: _int8(model, samples, "int8"),
    }
    np.save(folder / "samples.npy", samples)
    files = Files(folder, samples, model.predict(samples, verbose=0))
    for name in names:
        files.path(name).write_bytes(makers[name]())
    return files


def _int8(model: keras.Model, samples: np.ndarray, ends: str) -> bytes:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([sample[None]] for sample in samples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.as_dtype(ends)
    return converter.convert()


def far_apart(given: np.ndarray, expected: np.ndarray) -> float:
    """Returns the largest difference as a share of the largest output."""
    assert given.shape == expected.shape
    return float(np.max(np.abs(given - expected)) / np.max(np.abs(expected)))
