import numpy as np
import pytest
from keras import ops

from lrpet_tf.linalg import ENGINES, top_subspace


# A randomized subspace is as good as the best one; where singular values are close it is another one.
@pytest.mark.parametrize("engine", [*(each for each in ENGINES if each != "randomized"), "auto"])
@pytest.mark.parametrize("shape", [(50, 20), (20, 50), (150, 100), (100, 150)])
def test_orthonormal_and_spans_the_leading_vectors(rng, engine, shape):
    matrix, gain = rng.standard_normal(shape), rng.uniform(-2.0, 2.0, shape[1])
    basis = ops.convert_to_numpy(
        top_subspace(matrix.astype("float32"), 6, gain.astype("float32"), engine=engine)
    ).astype("float64")  # fmt: skip
    expected = np.linalg.svd(matrix * gain, full_matrices=False)[0][:, :6]
    np.testing.assert_allclose(basis.T @ basis, np.eye(6), atol=1e-5)
    np.testing.assert_allclose(basis @ basis.T, expected @ expected.T, atol=1e-4)


SPECTRA = {
    "flat": lambda k: np.ones(k),
    "clustered": lambda k: np.repeat([1.0, 0.5], [k // 2, k - k // 2]),
    "decaying": lambda k: np.geomspace(1.0, 1e-3, k),
    "one dominant": lambda k: np.r_[1e3, np.ones(k - 1)],
}


@pytest.mark.parametrize("engine", [*ENGINES, "auto"])
@pytest.mark.parametrize("spectrum", SPECTRA.values(), ids=SPECTRA)
def test_captures_as_much_as_the_best_subspace(rng, engine, spectrum):
    rows, columns, rank = 120, 80, 30
    values = spectrum(columns)
    left = np.linalg.qr(rng.standard_normal((rows, columns)))[0]
    right = np.linalg.qr(rng.standard_normal((columns, columns)))[0]
    matrix = (left * values) @ right.T
    basis = ops.convert_to_numpy(top_subspace(matrix.astype("float32"), rank, engine=engine)).astype("float64")
    error = np.linalg.norm(matrix - basis @ (basis.T @ matrix))
    assert error - np.linalg.norm(values[rank:]) < 1e-5 * np.linalg.norm(values)
