import keras
import numpy as np
import pytest
from keras import layers, ops

import lrpet_tf as lrpet


def _model():
    inputs = keras.Input((6, 6, 3))
    x = layers.BatchNormalization(name="bn1")(layers.Conv2D(8, 3, name="conv1")(inputs))
    x = layers.Dropout(0.5)(layers.ReLU(name="act")(x))
    return keras.Model(inputs, layers.BatchNormalization(name="bn2")(layers.Conv2D(8, 3, name="conv2")(x)))


def _statistics(layer):
    return ops.convert_to_numpy(layer.moving_mean), ops.convert_to_numpy(layer.moving_variance)


def test_statistics_are_those_of_the_data_with_dropout_off(rng):
    model, data = _model(), (3 + 2 * rng.standard_normal((50, 6, 6, 3))).astype("float32")
    assert lrpet.recalibrate_batch_norms(model, data) == 2
    for conv, bn in (("conv1", "bn1"), ("conv2", "bn2")):
        features = keras.Model(model.input, model.get_layer(conv).output).predict(data, verbose=0).reshape(-1, 8)
        mean, variance = _statistics(model.get_layer(bn))
        np.testing.assert_allclose(mean, features.mean(0), atol=1e-3)
        np.testing.assert_allclose(variance, features.var(0), rtol=2e-3)


def test_the_average_over_batches_replaces_what_was_there(rng):
    model, data = _model(), rng.standard_normal((4, 30, 6, 6, 3)).astype("float32")
    model.get_layer("bn1").moving_mean.assign(np.full(8, 1e3))
    lrpet.recalibrate_batch_norms(model, iter(data), steps=3)
    conv = keras.Model(model.input, model.get_layer("conv1").output)
    means = [conv.predict(batch, verbose=0).mean((0, 1, 2)) for batch in data[:3]]
    np.testing.assert_allclose(_statistics(model.get_layer("bn1"))[0], np.mean(means, axis=0), atol=1e-5)


def test_nothing_else_changes(rng):
    model = _model()
    momentum, call = model.get_layer("bn1").momentum, model.get_layer("bn1").call
    before = {v.path: ops.convert_to_numpy(v) for v in model.variables}
    lrpet.recalibrate_batch_norms(model, rng.standard_normal((10, 6, 6, 3)).astype("float32"))
    for variable in model.variables:
        if "moving" not in variable.path:
            np.testing.assert_array_equal(ops.convert_to_numpy(variable), before[variable.path])
    assert model.get_layer("bn1").momentum == momentum
    assert model.get_layer("bn1").call == call
    assert "call" not in vars(model.get_layer("bn1"))
    data = rng.standard_normal((10, 6, 6, 3)).astype("float32")
    np.testing.assert_array_equal(model.predict(data, verbose=0), model.predict(data, verbose=0))
    frozen = _statistics(model.get_layer("bn1"))
    model.predict(data, verbose=0)
    np.testing.assert_array_equal(_statistics(model.get_layer("bn1"))[0], frozen[0])


def test_frozen_batch_norms_keep_theirs(rng):
    model = _model()
    model.get_layer("bn1").trainable = False
    before = _statistics(model.get_layer("bn1"))
    assert lrpet.recalibrate_batch_norms(model, rng.standard_normal((10, 6, 6, 3)).astype("float32")) == 1
    np.testing.assert_array_equal(_statistics(model.get_layer("bn1"))[0], before[0])


def test_a_model_without_batch_norms(rng):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    assert lrpet.recalibrate_batch_norms(model, rng.standard_normal((8, 4))) == 0


@pytest.mark.parametrize(("data", "steps", "message"), [
    (np.zeros((0, 6, 6, 3), "float32"), None, "empty data set"), (np.zeros((4, 6, 6, 3), "float32"), 0, "steps=0"),
    (7, None, "Received: int"),
])  # fmt: skip
def test_bad_input(data, steps, message):
    with pytest.raises(lrpet.LowRankError, match=message):
        lrpet.recalibrate_batch_norms(_model(), data, steps)


class Batches(keras.utils.PyDataset):
    def __init__(self, data):
        super().__init__()
        self._data = data

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return self._data[index * 10 : index * 10 + 10], np.zeros(10)


@pytest.mark.parametrize("kind", ["array", "tuple", "py_dataset", "generator", "tf.data"])
def test_kinds_of_data(rng, kind):
    data = rng.standard_normal((50, 6, 6, 3)).astype("float32")
    if kind == "tf.data":
        tf = pytest.importorskip("tensorflow")
        dataset = tf.data.Dataset.from_tensor_slices((data, np.zeros(50))).batch(10)
    else:
        dataset = {
            "array": data,
            "tuple": (data, np.zeros(50)),
            "py_dataset": Batches(data),
            "generator": ((data[i : i + 10], None) for i in range(0, 50, 10)),
        }[kind]
    model = _model()
    lrpet.recalibrate_batch_norms(model, dataset)
    features = keras.Model(model.input, model.get_layer("conv1").output).predict(data, verbose=0)
    np.testing.assert_allclose(_statistics(model.get_layer("bn1"))[0], features.mean((0, 1, 2)), atol=1e-5)
