"""Independent answers, NumPy in float64, and what models are held against."""

import keras
import numpy as np

import lrpet_tf as lrpet


def truncated(kernel, rank, gain=None, energy="merged", tail=0.0, damping=0.0):
    """The projection of the paper, in exact form, by the full SVD of the scaled matrix."""
    kernel = np.asarray(kernel, np.float64)
    gain = np.ones(kernel.shape[1]) if gain is None else np.asarray(gain, np.float64)
    scaled = kernel * gain
    left, values, right = np.linalg.svd(scaled, full_matrices=False)
    basis = left[:, :rank]
    kept = basis @ basis.T @ kernel
    best = (left[:, :rank] * values[:rank]) @ right[:rank]
    whole = {"merged": scaled, "raw": kernel, "none": None}[energy]
    scale = 1.0
    if whole is not None:
        captured = np.sum((basis.T @ whole) ** 2)
        rest = np.sum(whole**2) - captured
        scale = np.sqrt((np.sum(whole**2) - tail**2 * rest) / captured)
    if damping:
        kept = kept * (gain**2 / (gain**2 + damping))
    return scale * kept + tail * (kernel - kept), best, scale


def set_batch_norm_statistics(model, seed=0):
    """Gives every batch norm of a model statistics, scales and shifts such as training leaves."""
    rng = np.random.default_rng(seed)
    for layer in model._flatten_layers():
        if type(layer).__name__ == "BatchNormalization":
            channels = layer.moving_mean.shape
            layer.moving_mean.assign(0.1 * rng.standard_normal(channels))
            layer.moving_variance.assign(rng.uniform(0.5, 2.0, channels))
            if layer.scale:
                layer.gamma.assign(rng.uniform(0.5, 1.5, channels))
            if layer.center:
                layer.beta.assign(0.1 * rng.standard_normal(channels))


def relative_difference(expected, received):
    """The largest difference as a share of the largest magnitude expected."""
    return float(np.max(np.abs(np.asarray(expected) - np.asarray(received))) / np.max(np.abs(expected)))


def flat_outputs(model, data):
    """The outputs of a model as a flat list of arrays."""
    return keras.tree.flatten(model.predict(data, verbose=0))


def assert_same_outputs(model, small, data, tolerance=1e-5):
    """Every output of one model is that of the other, up to a share of its scale."""
    for expected, received in zip(flat_outputs(model, data), flat_outputs(small, data), strict=True):
        assert relative_difference(expected, received) < tolerance


def assert_full_rank_is_exact(model, data):
    """Factorizing at full rank changes no output; returns the factorized model."""
    small = lrpet.factorize(model, lrpet.make_plan(model, 1.0, keep_if_no_gain=True))
    assert_same_outputs(model, small, data)
    return small
