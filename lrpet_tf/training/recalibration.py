"""Refreshing the moving statistics of batch norms."""

import contextlib

import keras

from lrpet_tf.adapters.batch_norm import is_batch_norm
from lrpet_tf.data import input_batches
from lrpet_tf.errors import LowRankError


@contextlib.contextmanager
def _training_mode(batch_norms):
    """Makes batch norms, and nothing else, run in training mode."""
    originals = [(layer, layer.call, layer.momentum) for layer in batch_norms]

    def in_training_mode(call):
        return lambda inputs, training=None, mask=None: call(inputs, training=True, mask=mask)

    try:
        for layer, call, _ in originals:
            layer.call = in_training_mode(call)
        yield
    finally:
        for layer, _, momentum in originals:
            del layer.call  # the method of the class shows again
            layer.momentum = momentum


def recalibrate_batch_norms(model: keras.Model, dataset, steps: int | None = None, *, verbose: bool = False) -> int:
    """Replaces the moving statistics of all batch norms by the average over some batches of the model as it is now.

    Only batch norms run in training mode: dropout and the like stay off. No weight but the moving means and variances
    changes. Frozen batch norms keep theirs; those that the model calls with `training=False` are refreshed like the others.

    Args:
        model: Any built model.
        dataset: Training images as arrays, a `tf.data.Dataset`, a `PyDataset` or an iterable of batches, with or without
            targets, prepared as for `fit`. Batches of 100 images or more, and about 50 of them, are plenty.
        steps: Number of batches to use; all by default.
        verbose: Whether to show a progress bar.

    Returns:
        The number of batch norms that were refreshed.

    Raises:
        LowRankError: The data set holds nothing, or `steps` is under 1.
    """
    if steps is not None and steps < 1:
        raise LowRankError(f"`steps` must be at least 1, or None for the whole data set. Received: steps={steps}")
    batch_norms = [layer for layer in model._flatten_layers() if is_batch_norm(layer) and layer.trainable]
    if not batch_norms:
        return 0
    progress = keras.utils.Progbar(steps, verbose=1 if verbose else 0, unit_name="batch")
    with _training_mode(batch_norms):
        for index, inputs in enumerate(input_batches(dataset)):
            for layer in batch_norms:
                layer.momentum = index / (index + 1)  # the moving average becomes the mean over the batches
            model(inputs, training=False)
            progress.add(1)
            if index + 1 == steps:
                break
    return len(batch_norms)
