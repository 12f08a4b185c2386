"""CIFAR-10 through TensorFlow Datasets, augmented in NumPy, the same on every Keras backend and after a resume."""

import itertools
from collections.abc import Iterator

import numpy as np

MEAN = np.array([0.4868, 0.4822, 0.4414], "float32")
STD = np.array([0.2451, 0.2445, 0.2605], "float32")


def load(split: str, data_dir: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Loads a split into memory.

    Args:
        split: `"train"` or `"test"`, or any TensorFlow Datasets split expression.
        data_dir: Folder of the prepared data set; by default `TFDS_DATA_DIR` or the library's own folder,
            where it is downloaded at the first use.

    Returns:
        `(images, labels)`: uint8 of shape `(n, 32, 32, 3)` and int64 of shape `(n,)`.
    """
    import tensorflow_datasets as tfds

    return tfds.as_numpy(tfds.load("cifar10", split=split, data_dir=data_dir, batch_size=-1, as_supervised=True))


def normalise(images: np.ndarray) -> np.ndarray:
    """Returns float32 images of zero mean and unit deviation per channel, from uint8 ones."""
    return ((images / np.float32(255)) - MEAN) / STD


def augmented_batches(
    images: np.ndarray, labels: np.ndarray, *, batch_size: int, seed: int, first_epoch: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields shuffled training batches without end: padded by 4, cropped to 32, and flipped at random.

    Each epoch's order, crops and flips depend on the seed and the number of the epoch alone, so that a run that was interrupted
    goes on with the very batches that it would have had.

    Args:
        images: uint8, `(n, 32, 32, 3)`.
        labels: Integers, `(n,)`.
        batch_size: Images a batch; an incomplete last batch of an epoch is left out.
        seed: Seed of the shuffling and of the augmentation.
        first_epoch: Number of the epoch to begin with.

    Yields:
        Normalised float32 images `(batch_size, 32, 32, 3)` and labels `(batch_size,)`.
    """
    padded = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)))
    for epoch in itertools.count(first_epoch):
        rng = np.random.default_rng((seed, epoch))
        order = rng.permutation(len(labels))
        tops, lefts = rng.integers(0, 9, (2, len(labels)))
        flips = rng.random(len(labels)) < 0.5
        for start in range(0, len(labels) - batch_size + 1, batch_size):
            chosen = order[start : start + batch_size]
            yield normalise(_crops(padded, chosen, tops[chosen], lefts[chosen], flips[chosen])), labels[chosen]


def _crops(padded, chosen, tops, lefts, flips) -> np.ndarray:
    rows = tops[:, None] + np.arange(32)
    columns = lefts[:, None] + np.arange(32)
    columns = np.where(flips[:, None], columns[:, ::-1], columns)
    return padded[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]
