"""Labels: which output they belong to, and what counts as right."""

import keras
import numpy as np
import pytest
from keras import layers

from lrpet_tf import errors
from lrpet_tf.export.stages import read_labels


def _model(sizes=(4,)):
    inputs = keras.Input((3,))
    return keras.Model(inputs, [layers.Dense(size, name=f"out{index}")(inputs) for index, size in enumerate(sizes)])


VALUES = np.array([[0.1, 0.9, 0, 0], [0.5, 0.2, 0.1, 0], [0, 0, 0, 1.0]])


@pytest.mark.parametrize("labels", [[1, 0, 0], np.array([[1], [0], [0]]), [1.0, 0.0, 0.0], np.eye(4)[[1, 0, 0]]])
def test_indices_and_one_hot_rows(labels):
    found = read_labels(_model(), np.asarray(labels), [VALUES], given=True)
    assert found.accuracy([VALUES]) == pytest.approx(2 / 3)


def test_single_numbers():
    scores, logits = np.array([[0.9], [0.2], [0.6]]), np.array([[2.0], [-1.0], [0.3]])
    labels = np.array([1, 0, 0])
    for values in (scores, logits):
        assert read_labels(_model((1,)), labels, [values], given=True).accuracy([values]) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    "labels", [np.array([1, 9, 0]), np.array([0.5, 0.2, 0.1]), np.zeros((3, 7)), np.array(["a", "b", "c"])]
)
def test_targets_that_are_no_labels(labels):
    assert read_labels(_model(), labels, [VALUES], given=False) is None
    with pytest.raises(errors.ExportError, match="`labels` must hold a class index"):
        read_labels(_model(), labels, [VALUES], given=True)


def test_several_outputs():
    model, labels = _model((1, 4)), np.array([1, 0, 0])
    values = [np.array([[12.5], [3.0], [7.0]]), VALUES]
    for targets in (
        {"out0": np.array([12.1, 3.3, 7.7]), "out1": labels},
        [np.array([12.1, 3.3, 7.7]), labels],
        {"out1": labels},
    ):
        found = read_labels(model, targets, values, given=False)
        assert (found.output, found.accuracy(values)) == (1, pytest.approx(2 / 3))


def test_labels_for_each_position():
    values = np.stack([VALUES, VALUES])
    found = read_labels(_model(), np.array([[1, 0, 3], [1, 0, 0]]), [values], given=True)
    assert found.accuracy([values]) == pytest.approx(5 / 6)
