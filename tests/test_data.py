import keras
import numpy as np
import pytest

from lrpet_tf.data import first_samples, input_batches
from lrpet_tf.errors import LowRankError


def test_arrays_are_cut_into_batches():
    data = np.arange(10)[:, None]
    assert [len(batch) for batch in input_batches(data, batch_size=4)] == [4, 4, 2]
    assert [len(batch["a"]) for batch in input_batches({"a": data, "b": data}, batch_size=4)] == [4, 4, 2]
    assert [len(batch[1]) for batch in input_batches([data, data], batch_size=4)] == [4, 4, 2]


def test_targets_and_weights_are_left_out():
    data, labels = np.arange(10)[:, None], np.zeros(10)
    for dataset in ((data, labels), (data, labels, labels), [(data[:5], labels[:5]), (data[5:], labels[5:])]):
        np.testing.assert_array_equal(np.concatenate(list(input_batches(dataset))), data)


def test_first_samples_takes_no_more_batches_than_it_needs():
    taken = []

    def batches():
        for start in range(0, 100, 10):
            taken.append(start)
            yield keras.ops.convert_to_tensor(np.arange(start, start + 10)), None

    np.testing.assert_array_equal(first_samples(batches(), 25), np.arange(25))
    assert taken == [0, 10, 20]


@pytest.mark.parametrize("dataset", [7, None, "images", {"a": 3}])
def test_what_is_no_data(dataset):
    with pytest.raises(LowRankError, match=f"Received: {type(dataset).__name__}"):
        list(input_batches(dataset))
