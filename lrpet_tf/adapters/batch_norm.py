"""Batch norms, and the layers that may stand between a kernel and its batch norm."""

from collections.abc import Sequence

import keras
from keras import layers, ops

# Linear at inference, and the same for all channels: the scale of a batch norm after them applies to the kernel's columns.
_CHANNEL_PRESERVING = frozenset(
    {
        layers.Identity,
        layers.Dropout,
        layers.SpatialDropout1D,
        layers.SpatialDropout2D,
        layers.GaussianDropout,
        layers.GaussianNoise,
        layers.ZeroPadding2D,
        layers.Cropping2D,
        layers.AveragePooling2D,
    }
)


def is_batch_norm(layer) -> bool:
    """Returns whether the layer is a batch normalisation."""
    return type(layer) is layers.BatchNormalization


def preserves_channels(layer) -> bool:
    """Returns whether the layer is linear at inference and treats all channels alike."""
    if type(layer) is layers.Activation:
        return layer.activation is keras.activations.linear
    return type(layer) in _CHANNEL_PRESERVING


def normalises_axis(batch_norm: layers.BatchNormalization, axis: int, rank: int) -> bool:
    """Returns whether a batch norm works along an axis of tensors of `rank` axes."""
    return batch_norm.axis % rank == axis % rank


def gains(batch_norms: Sequence[layers.BatchNormalization]):
    """Returns what batch norms of as many channels multiply each channel by at inference.

    Args:
        batch_norms: The layers; with `scale=False` the `γ` of one is one.

    Returns:
        Tensor `(layers, channels)`: `γ / sqrt(moving variance + ε)`.
    """
    inverse = ops.rsqrt(ops.stack([layer.moving_variance + layer.epsilon for layer in batch_norms]))
    if not any(layer.scale for layer in batch_norms):
        return inverse
    ones = ops.ones_like(inverse[0])
    return inverse * ops.stack([ops.cast(layer.gamma, ones.dtype) if layer.scale else ones for layer in batch_norms])


def gain(batch_norm: layers.BatchNormalization):
    """Returns what a batch norm multiplies each channel by at inference: the one row of `gains`."""
    return gains([batch_norm])[0]
