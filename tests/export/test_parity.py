import numpy as np
import pytest

from lrpet_tf.export.parity import compare


def test_figures_against_numpy(rng):
    expected = rng.standard_normal((20, 5))
    received = expected + 0.1 * rng.standard_normal((20, 5))
    (parity,) = compare(["out"], [expected], [received])
    assert parity.max_difference == np.max(np.abs(expected - received))
    assert parity.relative_difference == parity.max_difference / np.max(np.abs(expected))
    assert parity.cosine == pytest.approx(np.vdot(expected, received) / np.linalg.norm(expected) / np.linalg.norm(received))
    assert parity.top1_agreement == np.mean(expected.argmax(1) == received.argmax(1))


def test_zeros_single_classes_and_nan():
    (zeros,) = compare(["out"], [np.zeros((3, 1))], [np.zeros((3, 1))])
    assert (zeros.relative_difference, zeros.cosine, zeros.top1_agreement) == (0.0, 1.0, None)
    (off,) = compare(["out"], [np.zeros((3, 1))], [np.full((3, 1), 0.5)])
    assert off.relative_difference == 0.5
    (broken,) = compare(["out"], [np.ones((3, 2))], [np.full((3, 2), np.nan)])
    assert np.isnan(broken.relative_difference)
    (shape,) = compare(["out"], [np.ones((3, 2))], [np.ones((3, 4))])
    assert np.isnan(shape.relative_difference)
