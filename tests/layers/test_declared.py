import keras
import numpy as np
import pytest
from keras import ops

from lrpet_tf.errors import LowRankError, RankError
from lrpet_tf.layers import LRPETConv2D, LRPETDense
from tests import oracle

CASES = {
    "conv": (lambda: LRPETConv2D(8, 3, rank=0.5, padding="same", activation="relu"), (9, 9, 4)),
    "dense": (lambda: LRPETDense(8, rank=4, use_bias=False), (12,)),
}
case = pytest.mark.parametrize(("make", "shape"), CASES.values(), ids=CASES)


def _stock(layer):
    return (keras.layers.Conv2D if isinstance(layer, keras.layers.Conv2D) else keras.layers.Dense).from_config(
        {key: value for key, value in layer.get_config().items() if key != "rank"}
    )


@case
def test_computes_what_the_stock_layer_computes(rng, make, shape):
    layer = make()
    data = rng.standard_normal((2, *shape)).astype("float32")
    outputs = layer(data)
    stock = _stock(layer)
    stock.build(data.shape)
    stock.set_weights(layer.get_weights())
    np.testing.assert_array_equal(ops.convert_to_numpy(outputs), ops.convert_to_numpy(stock(data)))


@case
def test_projects_itself(rng, make, shape):
    layer = make()
    layer.build((None, *shape))
    kernel, gain = ops.convert_to_numpy(layer.kernel), rng.uniform(0.5, 2.0, 8).astype("float32")
    layer.project(gain)
    expected = oracle.truncated(kernel.reshape(-1, 8), 4, gain)[0]
    np.testing.assert_allclose(ops.convert_to_numpy(layer.kernel).reshape(-1, 8), expected, atol=1e-5)
    layer.project(energy="none")
    assert np.linalg.matrix_rank(ops.convert_to_numpy(layer.kernel).reshape(-1, 8), tol=1e-5) == 4


@case
def test_saves_and_loads(rng, tmp_path, make, shape):
    inputs = keras.Input(shape)
    model = keras.Model(inputs, make()(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    data = rng.standard_normal((2, *shape)).astype("float32")
    np.testing.assert_array_equal(ops.convert_to_numpy(model(data)), ops.convert_to_numpy(loaded(data)))
    assert loaded.layers[-1].declared_rank == model.layers[-1].declared_rank


@pytest.mark.parametrize("rank", [0, -1, 1.5, "half"])
def test_bad_rank_names_the_layer(rank):
    with pytest.raises(RankError, match="mine"):
        LRPETConv2D(8, 3, rank=rank, name="mine")


def test_rank_above_full_names_the_layer_when_it_projects():
    layer = LRPETDense(8, rank=9, name="mine")
    layer.build((None, 12))
    with pytest.raises(RankError, match="'mine'.*full rank, 8.*rank=9"):
        layer.project()


def test_an_unbuilt_layer_cannot_project():
    with pytest.raises(LowRankError, match="'mine'.*build it first"):
        LRPETDense(8, rank=2, name="mine").project()
