import numpy as np
import pytest

from lrpet_tf.linalg import left_basis, singular_values, truncated_pair
from tests import oracle


@pytest.mark.parametrize("shape", [(50, 20), (20, 50), (700, 300), (300, 700)])
@pytest.mark.parametrize("scaled", [False, True])
def test_pair_is_the_projection_and_balanced(rng, shape, scaled):
    matrix = rng.standard_normal(shape)
    gain = rng.uniform(0.5, 2.0, shape[1]) if scaled else None
    first, second = truncated_pair(matrix, 12, gain)
    np.testing.assert_allclose(first @ second, oracle.truncated(matrix, 12, gain, "none")[0], atol=1e-7)
    np.testing.assert_allclose(np.linalg.norm(first, axis=0), np.linalg.norm(second, axis=1), rtol=1e-9)
    basis = left_basis(matrix, 12, gain)
    np.testing.assert_allclose(basis.T @ basis, np.eye(12), atol=1e-10)


@pytest.mark.parametrize("shape", [(50, 20), (700, 300), (300, 700)])
def test_singular_values(rng, shape):
    matrix, gain = rng.standard_normal(shape), rng.uniform(0.5, 2.0, shape[1])
    expected = np.linalg.svd(matrix * gain, compute_uv=False)
    np.testing.assert_allclose(singular_values(matrix, gain), expected, atol=1e-6 * expected[0])


def test_a_matrix_of_the_rank_is_recomposed_to_rounding(rng):
    for shape in ((200, 100), (700, 300)):
        matrix = rng.standard_normal((shape[0], 9)) @ rng.standard_normal((9, shape[1]))
        first, second = truncated_pair(matrix, 9)
        np.testing.assert_allclose(first @ second, matrix, atol=1e-11 * np.linalg.norm(matrix))
