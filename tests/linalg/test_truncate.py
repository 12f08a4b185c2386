import keras
import numpy as np
import pytest
from keras import ops

from lrpet_tf.errors import RankError
from lrpet_tf.linalg import ENGINES, truncate, truncate_and_measure
from lrpet_tf.training.compiling import compiled
from tests import oracle

SHAPES = {"tall": (45, 16), "wide": (12, 40), "square": (20, 20), "large": (400, 150), "large and wide": (140, 300)}
TOLERANCES = {"float32": 2e-5, "float64": 1e-11}


def _dtypes():
    # JAX computes in float64 only when its x64 mode is on; with PyTorch Keras multiplies matrices of float64 in float32.
    return ["float32", "float64"] if keras.backend.backend() == "tensorflow" else ["float32"]


def _gain(rng, size):
    gain = rng.standard_normal(size)
    gain[1] = 0.0
    return gain


def _error(expected, received):
    return np.linalg.norm(expected - ops.convert_to_numpy(received)) / np.linalg.norm(expected)


# A randomized subspace is as good as the best one (test_engines.py); where singular values are close it is another one.
@pytest.mark.parametrize("dtype", _dtypes())
@pytest.mark.parametrize("engine", [*(each for each in ENGINES if each != "randomized"), "auto"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_best_approximation_of_the_scaled_matrix(rng, shape, engine, dtype):
    kernel, gain = rng.standard_normal(shape), _gain(rng, shape[1])
    received = truncate(kernel.astype(dtype), 7, gain=gain.astype(dtype), energy="none", engine=engine)
    expected, best, _ = oracle.truncated(kernel, 7, gain, "none")
    np.testing.assert_allclose(best, expected * gain, atol=1e-10)  # the identity that needs no division
    assert keras.backend.standardize_dtype(received.dtype) == dtype
    assert _error(best, received * gain.astype(dtype)) < TOLERANCES[dtype] * 10


@pytest.mark.parametrize("energy", ["merged", "raw", "none"])
@pytest.mark.parametrize("tail", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("damping", [0.0, 1e-2])
def test_formula(rng, energy, tail, damping):
    kernel, gain = rng.standard_normal((45, 16)), rng.uniform(0.5, 2.0, 16)
    options = {"energy": energy, "tail": tail, "damping": damping}
    received = truncate(kernel.astype("float32"), 5, gain=gain.astype("float32"), **options)
    assert _error(oracle.truncated(kernel, 5, gain, **options)[0], received) < 2e-5


@pytest.mark.parametrize("tail", [0.0, 0.4])
def test_energy_is_preserved(rng, tail):
    kernel, gain = rng.standard_normal((45, 16)).astype("float32"), rng.uniform(0.1, 2.0, 16).astype("float32")
    merged = ops.convert_to_numpy(truncate(kernel, 5, gain=gain, energy="merged", tail=tail))
    raw = ops.convert_to_numpy(truncate(kernel, 5, gain=gain, energy="raw", tail=tail))
    assert np.linalg.norm(merged * gain) == pytest.approx(np.linalg.norm(kernel * gain), rel=1e-5)
    assert np.linalg.norm(raw) == pytest.approx(np.linalg.norm(kernel), rel=1e-5)


def test_damping_is_the_authors_division(rng):
    kernel, gain = rng.standard_normal((45, 16)), np.geomspace(1e-3, 1.0, 16)
    left, values, right = np.linalg.svd(kernel * gain, full_matrices=False)
    authors = ((left[:, :5] * values[:5]) @ right[:5]) * (gain / (gain**2 + 1e-5))
    received = truncate(kernel.astype("float32"), 5, gain=gain.astype("float32"), energy="none", damping=1e-5)
    assert _error(authors, received) < 1e-5


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
@pytest.mark.parametrize("energy", ["merged", "raw"])
def test_extreme_scales(rng, scale, energy):
    kernel, gain = rng.standard_normal((100, 70)), rng.uniform(0.5, 2.0, 70)
    expected = oracle.truncated(kernel, 9, gain, energy)[0]
    received = truncate((kernel * scale).astype("float32"), 9, gain=(gain * 1e-15).astype("float32"), energy=energy)
    assert _error(expected, ops.convert_to_numpy(received).astype("float64") / scale) < 1e-4


@pytest.mark.parametrize("engine", ENGINES)
def test_rank_is_at_most_that_asked_for(rng, engine):
    received = ops.convert_to_numpy(truncate(rng.standard_normal((200, 100)).astype("float32"), 11, engine=engine))
    values = np.linalg.svd(received.astype("float64"), compute_uv=False)
    assert values[11] < 1e-6 * np.linalg.norm(received)


@pytest.mark.parametrize("energy", ["merged", "raw", "none"])
@pytest.mark.parametrize("size", [16, 100])
def test_zero_and_rank_deficient_matrices_stay_finite(rng, energy, size):
    zeros = np.zeros((2 * size, size), "float32")
    assert np.all(ops.convert_to_numpy(truncate(zeros, 3, energy=energy)) == 0)
    kernel = rng.standard_normal((2 * size, size)).astype("float32")
    assert np.all(np.isfinite(ops.convert_to_numpy(truncate(kernel, 3, gain=np.zeros(size, "float32"), energy=energy))))
    thin = (rng.standard_normal((2 * size, 2)) @ rng.standard_normal((2, size))).astype("float32")
    assert _error(thin, truncate(thin, 5, energy=energy)) < 1e-5


def test_a_vanishing_gain_counts_as_ones(rng):
    kernel = rng.standard_normal((45, 16)).astype("float32")
    for gain in (np.zeros(16, "float32"), None):
        assert _error(oracle.truncated(kernel, 5, energy="none")[0], truncate(kernel, 5, gain=gain, energy="none")) < 1e-5


def test_a_share_is_a_rank_too(rng):
    kernel = rng.standard_normal((45, 16)).astype("float32")
    np.testing.assert_array_equal(ops.convert_to_numpy(truncate(kernel, 0.25)), ops.convert_to_numpy(truncate(kernel, 4)))


def test_idempotent_and_unchanged_at_full_rank(rng):
    kernel, gain = rng.standard_normal((45, 16)).astype("float32"), rng.uniform(0.5, 2.0, 16).astype("float32")
    once = truncate(kernel, 5, gain=gain)
    assert _error(ops.convert_to_numpy(once), truncate(once, 5, gain=gain)) < 1e-5
    np.testing.assert_array_equal(ops.convert_to_numpy(truncate(kernel, 16, gain=gain)), kernel)


def test_energy_kept(rng):
    kernel, gain = rng.standard_normal((45, 16)), rng.uniform(0.5, 2.0, 16)
    values = np.linalg.svd(kernel * gain, compute_uv=False)
    received = truncate_and_measure(kernel.astype("float32"), 5, gain=gain.astype("float32"), tail=0.5).energy_kept
    assert float(received) == pytest.approx(np.sum(values[:5] ** 2) / np.sum(values**2), rel=1e-5)


def test_batches_are_truncated_one_by_one(rng):
    kernels, gains = rng.standard_normal((3, 45, 16)).astype("float32"), rng.uniform(0.5, 2.0, (3, 16)).astype("float32")
    together = ops.convert_to_numpy(truncate(kernels, 5, gain=gains, tail=0.2))
    for kernel, gain, received in zip(kernels, gains, together, strict=True):
        assert _error(oracle.truncated(kernel, 5, gain, tail=0.2)[0], received) < 2e-5


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_computed_in_float32(rng, dtype):
    kernel = ops.cast(rng.standard_normal((45, 16)).astype("float32"), dtype)
    received = truncate(kernel, 5)
    assert keras.backend.standardize_dtype(received.dtype) == dtype
    assert (
        _error(oracle.truncated(ops.convert_to_numpy(ops.cast(kernel, "float32")), 5)[0], ops.cast(received, "float32")) < 1e-2
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_compiled_equals_eager(rng, engine):
    def function(kernel, gain):
        return truncate(kernel, 9, gain=gain, tail=0.1, engine=engine)

    kernel = ops.convert_to_tensor(rng.standard_normal((90, 70)).astype("float32"))
    gain = ops.convert_to_tensor(rng.uniform(0.5, 2.0, 70).astype("float32"))
    assert _error(ops.convert_to_numpy(function(kernel, gain)), compiled(function, [], [])(kernel, gain)) < 1e-4


@pytest.mark.parametrize("rank", [0, -1, 17])
def test_bad_ranks(rng, rank):
    with pytest.raises(RankError, match=f"rank={rank}"):
        truncate(rng.standard_normal((45, 16)).astype("float32"), rank)


@pytest.mark.parametrize(
    "options", [{"energy": "all"}, {"tail": 1.5}, {"tail": -0.1}, {"damping": -1.0}, {"engine": "magic"}, {"tail": np.nan}]
)
def test_bad_options_are_named(rng, options):
    (name,) = options
    with pytest.raises(ValueError, match=f"`{name}`.*Received"):
        truncate(rng.standard_normal((45, 16)).astype("float32"), 5, **options)
