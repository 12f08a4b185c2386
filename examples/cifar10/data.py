"""CIFAR-10 through TensorFlow Datasets, augmented in NumPy, the same on every Keras backend and after a resume."""

import keras
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


class Augmented(keras.utils.PyDataset):
    """Shuffled training batches, padded by 4, cropped to 32 and flipped at random.

    The random stream depends on the seed and the epoch alone, so that an interrupted run goes on exactly as it would have.

    Args:
        images: uint8, `(n, 32, 32, 3)`.
        labels: integers, `(n,)`.
        batch_size: Images a batch; an incomplete last batch is left out.
        seed: Seed of the shuffling and of the augmentation.
    """

    def __init__(self, images, labels, *, batch_size: int, seed: int):
        super().__init__()
        self._images = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)))
        self._labels = labels
        self._batch_size = batch_size
        self._seed = seed
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Draws the order, the crops and the flips of an epoch; call it as each epoch begins."""
        rng = np.random.default_rng((self._seed, epoch))
        count = len(self._labels)
        self._order = rng.permutation(count)
        self._offsets = rng.integers(0, 9, (2, count))
        self._flips = rng.random(count) < 0.5

    def __len__(self) -> int:
        """Returns the number of whole batches."""
        return len(self._labels) // self._batch_size

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns batch `index` as normalised float32 images and labels."""
        chosen = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        top, left = self._offsets[:, chosen]
        rows = top[:, None] + np.arange(32)
        columns = left[:, None] + np.arange(32)
        columns = np.where(self._flips[chosen, None], columns[:, ::-1], columns)
        crops = self._images[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]
        return normalise(crops), self._labels[chosen]
