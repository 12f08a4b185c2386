import keras
import numpy as np
import pytest
from keras import ops

from lrpet_tf.decompositions import DECOMPOSITIONS
from lrpet_tf.errors import RankError
from lrpet_tf.layers import LowRankConv2D, LowRankDense
from lrpet_tf.linalg import compose
from tests import oracle
from tests.cases import CONVOLUTIONS

CASES = {
    f"conv {name}": (lambda options=options: LowRankConv2D(8, rank=0.5, **options), (13, 11, 6))
    for name, options in CONVOLUTIONS.items()
} | {
    f"conv {form}": (lambda form=form: LowRankConv2D(8, 3, rank=0.5, strides=2, decomposition=form), (13, 11, 6))
    for form in DECOMPOSITIONS
} | {
    "grouped tucker2": (lambda: LowRankConv2D(8, 3, rank=0.5, groups=2, decomposition="tucker2"), (13, 11, 6)),
    "dense": (lambda: LowRankDense(8, rank=4, activation="relu"), (12,)),
    "dense on a sequence": (lambda: LowRankDense(8, rank=0.5, use_bias=False), (5, 12)),
}  # fmt: skip
case = pytest.mark.parametrize(("make", "shape"), CASES.values(), ids=CASES)


def _model(make, shape):
    inputs = keras.Input(shape)
    layer = make()
    return keras.Model(inputs, layer(inputs)), layer


@case
def test_computes_what_the_dense_layer_with_the_composed_kernel_computes(rng, make, shape):
    model, layer = _model(make, shape)
    kind = keras.layers.Conv2D if isinstance(layer, LowRankConv2D) else keras.layers.Dense
    dense = kind.from_config({key: value for key, value in layer.get_config().items() if key not in ("rank", "decomposition")})
    dense.build((None, *shape))
    kernel = compose(layer.chain(), getattr(layer, "groups", 1))
    weights = [kernel if kind is keras.layers.Conv2D else kernel[0, 0]]
    if layer.use_bias:
        layer.bias.assign(rng.uniform(0.1, 1.0, 8))
        weights.append(ops.convert_to_numpy(layer.bias))
    dense.set_weights(weights)
    data = rng.standard_normal((2, *shape)).astype("float32")
    expected, received = ops.convert_to_numpy(dense(data)), ops.convert_to_numpy(model(data))
    assert model.output.shape == (None, *expected.shape[1:])
    assert oracle.relative_difference(expected, received) < 1e-5


def test_starts_as_the_truncated_dense_kernel():
    _, layer = _model(lambda: LowRankConv2D(8, 3, rank=3, kernel_initializer=keras.initializers.HeNormal(seed=1)), (9, 9, 4))
    dense = ops.convert_to_numpy(keras.initializers.HeNormal(seed=1)((3, 3, 4, 8))).reshape(-1, 8)
    expected = oracle.truncated(dense, 3, energy="none")[0]
    np.testing.assert_allclose(compose(layer.chain()).reshape(-1, 8), expected, atol=1e-6)


@pytest.mark.parametrize("form", DECOMPOSITIONS)
@pytest.mark.parametrize("groups", [1, 2])
def test_full_rank_starts_as_the_dense_kernel(form, groups):
    options = {"rank": 1.0, "decomposition": form, "groups": groups}
    _, layer = _model(lambda: LowRankConv2D(8, 3, kernel_initializer=keras.initializers.HeNormal(seed=1), **options), (9, 9, 4))
    dense = ops.convert_to_numpy(keras.initializers.HeNormal(seed=1)((3, 3, 4 // groups, 8)))
    np.testing.assert_allclose(compose(layer.chain(), groups), dense, atol=2e-6)


@case
def test_saves_and_loads(rng, tmp_path, make, shape):
    model, _ = _model(make, shape)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    data = rng.standard_normal((2, *shape)).astype("float32")
    np.testing.assert_array_equal(ops.convert_to_numpy(model(data)), ops.convert_to_numpy(loaded(data)))


def test_trains_from_scratch(rng):
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            LowRankConv2D(8, 3, rank=0.5, activation="relu"),
            keras.layers.Flatten(),
            LowRankDense(1, rank=1),
        ]
    )
    model.compile("adam", "mse")
    data = rng.standard_normal((64, 8, 8, 3)).astype("float32")
    targets = data.mean((1, 2, 3))[:, None] * 10
    losses = model.fit(data, targets, epochs=15, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]


def test_inside_a_subclassed_model_that_is_built_by_its_first_call(rng):
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.convolution = LowRankConv2D(8, 3, rank=0.5)
            self.head = LowRankDense(2, rank=1)

        def call(self, inputs):
            return self.head(ops.mean(self.convolution(inputs), (1, 2)))

    model = Net()
    model.compile("sgd", "mse")
    data = rng.standard_normal((8, 9, 9, 3)).astype("float32")
    model.fit(data, np.zeros((8, 2), "float32"), verbose=0)
    assert len(model.trainable_variables) == 6
    assert np.all(np.isfinite(model.predict(data, verbose=0)))


@pytest.mark.parametrize("rank", [0, 1.2, "x"])
def test_bad_rank(rank):
    with pytest.raises(RankError, match="mine"):
        LowRankDense(8, rank=rank, name="mine")


def test_rank_above_full_rank_and_unknown_forms():
    with pytest.raises(RankError, match="'mine'.*full rank, 8.*rank=9"):
        LowRankDense(8, rank=9, name="mine").build((None, 12))
    with pytest.raises(RankError, match="'mine'.*full rank, 4.*rank=5"):
        LowRankConv2D(8, 3, rank=5, groups=2, name="mine").build((None, 9, 9, 12))
    with pytest.raises(ValueError, match="decomposition='cp'"):
        LowRankConv2D(8, 3, rank=2, decomposition="cp")


def test_an_activity_regularizer_counts_once(rng):
    layer = LowRankDense(6, rank=3, activity_regularizer=keras.regularizers.L2(1.0))
    layer(rng.standard_normal((4, 8)).astype("float32"))
    assert len(layer.losses) == 1
