import numpy as np
import pytest
from keras import ops

from lrpet_tf import decompositions
from lrpet_tf.linalg import compose
from tests import oracle

FORMS = decompositions.DECOMPOSITIONS
SHAPES = [(3, 3, 4, 8), (1, 1, 12, 9), (5, 1, 2, 16), (1, 3, 6, 6), (3, 3, 1, 5), (3, 3, 8, 1)]
form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


@form
@shape
def test_full_rank_recomposes(rng, form, shape):
    kernel = rng.standard_normal(shape)
    np.testing.assert_allclose(compose(form.factorize(kernel, form.max_rank(shape))), kernel, atol=1e-10)


@form
@shape
@pytest.mark.parametrize("scaled", [False, True])
def test_projection_is_the_composed_factorization_and_idempotent(rng, form, shape, scaled):
    kernel = rng.standard_normal(shape)
    gain = rng.uniform(0.5, 2.0, shape[3]) if scaled else None
    rank = max(1, form.max_rank(shape) // 2)
    tensor_gain = None if gain is None else gain.astype("float32")
    projected = form.project(ops.convert_to_tensor(kernel.astype("float32")), rank, tensor_gain, energy="none").matrix
    composed = compose(form.factorize(kernel, rank, gain))
    np.testing.assert_allclose(ops.convert_to_numpy(projected), composed, atol=2e-5)
    again = form.project(projected, rank, tensor_gain, energy="none")
    np.testing.assert_allclose(ops.convert_to_numpy(again.matrix), composed, atol=4e-5)
    assert float(again.energy_kept) == pytest.approx(1.0, abs=1e-5)


@form
@shape
def test_shapes_and_owned_axes(rng, form, shape):
    rank = max(1, form.max_rank(shape) // 2)
    chain = form.factorize(rng.standard_normal(shape), rank)
    assert [(factor.kernel.shape, factor.spatial_axes) for factor in chain] == list(form.factor_shapes(shape, rank))
    assert sorted(axis for factor in chain for axis in factor.spatial_axes) == [0, 1]
    assert chain[0].kernel.shape[2] == shape[2]
    assert chain[-1].kernel.shape[3] == shape[3]


@form
def test_names(form):
    assert FORMS[form.name] is form
    assert decompositions.get(form.name) is form


def test_channel_is_the_best_approximation_of_the_scaled_matrix(rng):
    kernel, gain = rng.standard_normal((3, 3, 4, 8)), rng.uniform(0.5, 2.0, 8)
    composed = compose(decompositions.get("channel").factorize(kernel, 3, gain)).reshape(-1, 8)
    expected = oracle.truncated(kernel.reshape(-1, 8), 3, gain, "none")[0]
    np.testing.assert_allclose(composed, expected, atol=1e-10)


def test_spectrum(rng):
    kernel, gain = rng.standard_normal((3, 3, 4, 8)), rng.uniform(0.5, 2.0, 8)
    expected = np.linalg.svd(kernel.reshape(-1, 8) * gain, compute_uv=False)
    np.testing.assert_allclose(decompositions.get("channel").spectrum(kernel, gain), expected)


def test_unknown_name():
    with pytest.raises(ValueError, match="channel.*Received: decomposition='cp'"):
        decompositions.get("cp")
