"""Every engine against the float64 SVD, on spectra that are hard in float32."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from lrpet_tf.errors import LowRankError
from lrpet_tf.linalg import ENGINES, choose_engine, truncate_and_measure
from lrpet_tf.linalg.engines import choosing, gram, project, randomized, subspace
from lrpet_tf.linalg.weighted import Gram, Weighted

SPECTRA = {
    "flat": lambda k, rng: np.ones(k),
    "clustered": lambda k, rng: np.repeat([1.0, 0.5], [k // 2, k - k // 2]),
    "a cliff at the cut": lambda k, rng: np.r_[np.ones(k // 2), np.full(k - k // 2, 1e-3)],
    "three decades": lambda k, rng: np.geomspace(1.0, 1e-3, k),
    "ten decades": lambda k, rng: np.geomspace(1.0, 1e-10, k),
    "rank-deficient": lambda k, rng: np.r_[rng.uniform(0.5, 1.0, k // 4), np.zeros(k - k // 4)],
    "one dominant": lambda k, rng: np.r_[1e4, np.ones(k - 1)],
    "linear": lambda k, rng: np.linspace(1.0, 0.01, k),
}
GAINS = {
    "none": lambda m, rng: None,
    "as of a batch norm": lambda m, rng: rng.uniform(0.5, 2.0, m),
    "over six decades, a zero, both signs": lambda m, rng: (
        rng.standard_normal(m) * np.geomspace(1.0, 1e-6, m) * (np.arange(m) != 1)
    ),
}
# Without a compiled function JAX compiles each operation for each shape.
SHAPES = [(288, 32), (40, 160)] if keras.backend.backend() == "jax" else [(288, 32), (150, 100), (40, 160)]
SHARES = [0.5] if keras.backend.backend() == "jax" else [0.1, 0.5, 0.8]
spectra = pytest.mark.parametrize("spectrum", SPECTRA.values(), ids=SPECTRA)


def _matrix(rng, spectrum, shape, scale=1.0):
    size = min(shape)
    left = np.linalg.qr(rng.standard_normal((shape[0], size)))[0]
    right = np.linalg.qr(rng.standard_normal((shape[1], size)))[0]
    return (scale * (left * spectrum(size, rng)) @ right.T).astype("float32")


def _assert_as_good_as_the_best(kernel, gain, rank, received):
    """The error exceeds that of the best by at most 1e-5 of the norm, and nothing is beyond the rank."""
    kernel, received = np.asarray(kernel, np.float64), ops.convert_to_numpy(received).astype("float64")
    scale = np.max(np.abs(kernel))
    kernel, received = kernel / scale, received / scale
    gain = np.ones(kernel.shape[1]) if gain is None else np.asarray(gain, np.float64)
    values = np.linalg.svd(kernel * gain, compute_uv=False)
    error = np.linalg.norm((kernel - received) * gain)
    assert error - np.linalg.norm(values[rank:]) <= 1e-5 * np.linalg.norm(values)
    beyond = np.linalg.svd(received, compute_uv=False)[rank:]
    assert np.linalg.norm(beyond) <= 1e-6 * np.linalg.norm(received)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("gains", GAINS.values(), ids=GAINS)
@spectra
def test_as_good_as_the_best(rng, spectrum, gains, engine):
    for shape in SHAPES:
        kernel, gain = _matrix(rng, spectrum, shape), gains(shape[1], rng)
        for share in SHARES:
            rank = int(share * min(shape))
            given = None if gain is None else gain.astype("float32")
            start = np.zeros((min(shape), rank), "float32")
            received = truncate_and_measure(kernel, rank, gain=given, energy="none", engine=engine, start=start)
            _assert_as_good_as_the_best(kernel, given, rank, received.matrix)
            assert received.starts[0].shape == start.shape


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_magnitude_does_not_matter(rng, scale, engine):
    for shape in SHAPES:
        kernel = _matrix(rng, SPECTRA["linear"], shape, scale)
        received = truncate_and_measure(kernel, 12, energy="none", engine=engine)
        _assert_as_good_as_the_best(kernel, None, 12, received.matrix)


@pytest.mark.parametrize("drift", [0.0, 1e-3, 1e-2, 0.1, 0.3])
@pytest.mark.parametrize("gains", GAINS.values(), ids=GAINS)
@spectra
def test_projections_that_start_from_the_last_one(rng, spectrum, gains, drift):
    for shape in SHAPES:
        rank = min(shape) // 2
        kernel, gain = _matrix(rng, spectrum, shape), gains(shape[1], rng)
        given = None if gain is None else gain.astype("float32")
        start = np.zeros((min(shape), rank), "float32")
        for _ in range(3):
            received = truncate_and_measure(kernel, rank, gain=given, engine="subspace", start=start)
            plain = truncate_and_measure(kernel, rank, gain=given, engine="subspace", start=start, energy="none")
            _assert_as_good_as_the_best(kernel, given, rank, plain.matrix)
            start = received.starts[0]
            kernel = ops.convert_to_numpy(received.matrix)
            noise = rng.standard_normal(shape)
            kernel = (kernel + drift * np.linalg.norm(kernel) / np.linalg.norm(noise) * noise).astype("float32")


def _weighted(matrix, gain=None):
    gain = None if gain is None else ops.convert_to_tensor(gain.astype("float32")[None])
    return Weighted(ops.convert_to_tensor(matrix.astype("float32")[None]), gain)


def _is_reliable(attempt):
    return bool(ops.convert_to_numpy(attempt[0])[0])


@pytest.mark.parametrize("shape", [*SHAPES, (576, 64)])
def test_the_fast_engines_serve_ordinary_kernels(rng, shape):
    """Otherwise all would be right, and slow."""
    rank = min(shape) // 2
    kernel, gain = rng.standard_normal(shape), rng.uniform(0.5, 2.0, shape[1])
    weighted = _weighted(kernel, gain)
    reliable, cold = gram.project(weighted, rank, Gram(weighted))
    assert bool(ops.convert_to_numpy(reliable)[0])
    low_rank = ops.convert_to_numpy(cold.matrix)[0]
    noise = rng.standard_normal(shape)
    for drift in (5e-3, 5e-2):  # one step, and several
        moved = _weighted(low_rank + drift * np.linalg.norm(low_rank) / np.linalg.norm(noise) * noise, gain)
        assert _is_reliable(subspace.project(moved, cold.basis, Gram(moved)))
    decaying = _weighted(_matrix(rng, lambda k, rng: np.geomspace(1.0, 1e-4, k) ** 4, shape))
    assert _is_reliable(randomized.project(decaying, max(1, min(shape) // 16)))


def test_what_is_not_good_enough_is_told(rng):
    shape, rank = (288, 32), 16
    weighted = _weighted(rng.standard_normal(shape))
    found = Gram(weighted)
    assert not _is_reliable(subspace.project(weighted, ops.zeros((1, 32, rank)), found))
    wrong = np.linalg.qr(rng.standard_normal((32, rank)))[0].astype("float32")[None]
    assert not _is_reliable(subspace.project(weighted, ops.convert_to_tensor(wrong), found))
    assert not _is_reliable(randomized.project(_weighted(rng.standard_normal((300, 100))), 25))
    deficient = _weighted(_matrix(rng, SPECTRA["rank-deficient"], shape))
    assert not _is_reliable(gram.project(deficient, rank, Gram(deficient)))
    for scale in (1e20, 1e-20):
        extreme = _weighted(scale * rng.standard_normal(shape))
        assert not _is_reliable(gram.project(extreme, rank, Gram(extreme)))


@pytest.mark.parametrize("engine", ENGINES)
def test_one_bad_matrix_of_a_batch_takes_the_others_along(rng, engine):
    kernels = np.stack([_matrix(rng, spectrum, (150, 100)) for spectrum in SPECTRA.values()])
    received = truncate_and_measure(kernels, 40, energy="none", engine=engine).matrix
    for kernel, each in zip(kernels, received, strict=True):
        _assert_as_good_as_the_best(kernel, None, 40, each)


@pytest.mark.parametrize("engine", [*ENGINES, "auto"])
def test_ranks_may_be_tensors(rng, engine):
    for shape in SHAPES:
        kernels, gains = rng.standard_normal((3, *shape)), rng.uniform(0.5, 2.0, (3, shape[1]))
        kernels, gains = kernels.astype("float32"), gains.astype("float32")
        ranks = np.array([3, 20, min(shape)], "int32")
        together = truncate_and_measure(kernels, ops.convert_to_tensor(ranks), gain=gains, tail=0.1, engine=engine)
        for kernel, gain, rank, matrix, kept in zip(kernels, gains, ranks, *together[:2], strict=True):
            alone = truncate_and_measure(kernel, int(rank), gain=gain, tail=0.1, engine="svd")
            np.testing.assert_allclose(ops.convert_to_numpy(matrix), ops.convert_to_numpy(alone.matrix), atol=2e-4)
            assert float(kept) == pytest.approx(float(alone.energy_kept), abs=1e-5)


@pytest.mark.tensorflow
@pytest.mark.parametrize("engine", ENGINES)
def test_compiled_by_xla(rng, engine):
    import tensorflow as tf

    @tf.function(jit_compile=True)
    def function(kernel, start):
        return truncate_and_measure(kernel, 12, energy="none", engine=engine, start=start).matrix

    for spectrum in SPECTRA.values():
        kernel = _matrix(rng, spectrum, (90, 24))
        _assert_as_good_as_the_best(kernel, None, 12, function(kernel, np.zeros((24, 12), "float32")))


def test_auto_chooses_by_shape_rank_precision_and_start(tmp_path, monkeypatch):
    file = tmp_path / "engines.json"
    file.write_text(json.dumps({"cpu": {"svd_up_to": 10, "subspace_from": 20, "randomized_below": 0.1}}))
    monkeypatch.setenv("LRPET_ENGINES", str(file))
    monkeypatch.setattr(choosing, "device_kind", lambda: "cpu")
    assert choose_engine((90, 10), 5, True, "float32") == "svd"
    assert choose_engine((90, 15), 5, True, "float32") == "gram"
    assert choose_engine((90, 20), 5, True, "float32") == "subspace"
    assert choose_engine((20, 90), 5, True, "float64") == "gram"
    assert choose_engine((90, 40), 5, False, "float32") == "gram"
    assert choose_engine((90, 40), 3, False, "float32") == "randomized"
    backend = keras.backend.backend()
    file = tmp_path / "other.json"
    file.write_text(json.dumps({f"{backend}/cpu": {"svd_up_to": 99, "subspace_from": 0, "randomized_below": 0.0}, "cpu": {}}))
    monkeypatch.setenv("LRPET_ENGINES", str(file))
    assert choose_engine((900, 90), 5, True, "float32") == "svd"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"cpu": {"svd": 1}}'])
def test_a_bad_file_of_thresholds_is_told(tmp_path, monkeypatch, text):
    file = tmp_path / "bad.json"
    file.write_text(text)
    monkeypatch.setenv("LRPET_ENGINES", str(file))
    with pytest.raises(LowRankError, match=r"LRPET_ENGINES.*bad\.json.*tools/engines\.py"):
        choose_engine((90, 10), 5, True, "float32")


def test_an_engine_that_needs_a_start_finds_one(rng):
    kernel = rng.standard_normal((150, 100)).astype("float32")
    received = project(_weighted(kernel), 30, "subspace")
    _assert_as_good_as_the_best(kernel, None, 30, received.matrix[0])
