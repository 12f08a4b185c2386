"""What the examples on scikit-learn's handwritten digits share: the data, a small network, and its training."""

import keras
import numpy as np
from keras import layers


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


def train(model: keras.Model, data, callbacks, epochs: int, learning_rate: float = 2e-3) -> None:
    """Trains a model with a cosine schedule, and shows the progress."""
    images, labels, test_images, test_labels = data
    schedule = keras.callbacks.LearningRateScheduler(
        lambda epoch: learning_rate * 0.5 * (1 + np.cos(np.pi * epoch / epochs))
    )  # fmt: skip
    model.fit(
        images, labels, batch_size=64, epochs=epochs, validation_data=(test_images, test_labels),
        callbacks=[*callbacks, schedule], verbose=2,
    )  # fmt: skip


def accuracy(model: keras.Model, data) -> float:
    """Returns the share of test images that a model gets right."""
    _, _, images, labels = data
    return float(np.mean(np.argmax(model.predict(images, verbose=0), axis=-1) == labels))
