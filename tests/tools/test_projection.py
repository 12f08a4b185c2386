"""The benchmarks of the projection run, compare what they say, and the committed page shows the committed figures."""

import dataclasses
import importlib.util
import json

import keras
import numpy as np
import pytest
from keras import layers, ops

from lrpet_tf.errors import MissingExtraError
from tools import measuring, projection

HAS_TORCH = importlib.util.find_spec("torch") is not None
SETTINGS = projection.Settings(rounds=2, seconds=0, blocks=2, torch=HAS_TORCH)
SWEEPS = {
    "size": [{"size": 4, "rank": 2, "layers": 1}, {"size": 6, "rank": 3, "layers": 1}],
    "rank": [{"size": 6, "rank": 2, "layers": 1}, {"size": 6, "rank": 3, "layers": 1}],
    "layers": [{"size": 4, "rank": 2, "layers": 1}, {"size": 4, "rank": 2, "layers": 2}],
}


def _net():
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv")(inputs)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 1, name="pointwise")(x))
    return keras.Model(inputs, layers.Dense(5, name="logits")(x), name="tiny")


TINY = projection.Spec("Tiny", _net, batch=4, few=4, steps=2)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(projection.MODELS, "tiny", TINY)
    monkeypatch.setattr(projection, "_apart", lambda function, *args: function(*args))
    monkeypatch.setattr(projection, "give_memory_back", lambda: None)
    monkeypatch.setattr(projection, "SETTLING", 1)
    return "tiny"


@pytest.fixture
def subject(monkeypatch, tmp_path):
    thresholds = {"svd_up_to": 0, "subspace_from": 0, "randomized_below": 0.0}
    (tmp_path / "engines.json").write_text(json.dumps({"cpu": thresholds, "gpu": thresholds}))
    monkeypatch.setenv("LRPET_ENGINES", str(tmp_path / "engines.json"))
    made = projection.Subject(TINY)
    layer = made.model.get_layer("bn")
    rng = np.random.default_rng(0)
    layer.moving_variance.assign(rng.uniform(0.5, 2.0, 8))
    layer.gamma.assign(rng.uniform(0.5, 2.0, 8))
    return made


def test_the_plain_ways_do_what_the_projection_does(subject):
    initial = measuring.State(subject.kernels)
    subject.project()
    expected = [ops.convert_to_numpy(kernel) for kernel in subject.kernels]
    initial.restore()
    if HAS_TORCH:
        torch = projection.PlainTorch(subject.projector.targets)
        torch.project()
        for weight, kernel in zip(torch.weights, expected, strict=True):
            np.testing.assert_allclose(weight.cpu().numpy().T, kernel.reshape(-1, kernel.shape[-1]), atol=1e-5)
    projection.plain_keras(subject.projector.targets)()
    for variable, kernel in zip(subject.kernels, expected, strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(variable), kernel, atol=1e-5)


def test_noise_and_states(subject):
    initial = measuring.State(subject.variables)
    subject.move()
    assert subject.moved_since(initial) == pytest.approx(projection.MOVE, rel=0.2)
    subject.project()
    assert any(np.any(ops.convert_to_numpy(start)) for start in subject.starts)
    initial.restore()
    assert subject.moved_since(initial) == 0
    assert not any(np.any(ops.convert_to_numpy(start)) for start in subject.starts)


def test_the_two_products(subject):
    assert projection.two_products(subject)() is None  # waits, and writes nothing
    assert subject.figures() == {"layers": 2, "weights": 4 * (9 * 3 * 8 + 8 * 8), "largest_group": 4 * 9 * 3 * 8}


def test_from_the_measurement_to_the_page(tiny, tmp_path, monkeypatch):
    path = tmp_path / "projection.json"
    monkeypatch.setattr(projection, "measure_growth", lambda settings: MEASURE_GROWTH(settings, SWEEPS))
    for benchmark in projection.BENCHMARKS:
        row = projection.measure(benchmark, "" if benchmark == "growth" else tiny, SETTINGS)
        projection.write(row, path)
        assert benchmark in projection.summary(row)
        assert all(value > 0 for values in row.seconds.values() for value in values)
        assert all(len(values) == 2 for values in row.seconds.values())
    projection.write(row, path)  # again: in the place of the first
    assert {*json.loads(path.read_text())} == {"rows"}
    rows = projection.read(path)
    assert sorted(row.benchmark for row in rows) == sorted(projection.BENCHMARKS)
    plain, limit, training, memory, growth = (
        next(row for row in rows if row.benchmark == name) for name in projection.BENCHMARKS
    )
    ours = {"cold", "warm", "between steps", "fallback"}
    ways = {"keras.ops.svd", *(["torch.linalg.svd"] if HAS_TORCH else [])}
    assert {*plain.seconds} == ours | {f"{way}, {state}" for way in ways for state in ("cold", "warm")}
    assert {*limit.seconds} == ours | {"products"}
    assert {"dense", "callback 1", "callback 1, projecting", "fallback"} <= {*training.seconds}
    assert memory.figures["growth"] >= 0
    assert len(growth.figures["points"]) == 6
    assert (growth.backend, growth.kind, growth.cores > 0) == (keras.backend.backend(), "cpu", True)

    (tmp_path / "performance.md").write_text((projection.DOCS / "performance.md").read_text())
    monkeypatch.setattr(
        projection,
        "_AXES",
        {name: (title, 1, theory) for name, (title, _, theory) in projection._AXES.items()},
    )
    for _ in range(2):  # the second time from a page that has tables
        projection.report(tmp_path)
        page = (tmp_path / "performance.md").read_text()
        assert page.count(f"**{plain.median('keras.ops.svd, warm') / plain.median('warm'):.1f}×**") >= 1
        assert page.count("| Tiny | TensorFlow |") == (5 if keras.backend.backend() == "tensorflow" else 0)
        assert "there are none from a GPU yet" in page
    assert (tmp_path / "projection.png").read_bytes().startswith(b"\x89PNG")

    gpu = [dataclasses.replace(row, kind="gpu", device="A GPU") for row in rows]
    parts = projection.sections([*rows, *gpu])
    assert parts["gpu"].count("A GPU") == 5
    assert parts["machines"].count("\n- ") == 1


MEASURE_GROWTH = projection.measure_growth


def test_shares_of_a_training():
    seconds = {
        "dense": [1.0],
        "callback 1": [1.1],
        "callback 1, projecting": [0.05],
        "callback 20": [1.01],
        "callback 20, projecting": [0.1],
        "fallback": [0.25],
    }
    row = projection.Row("training", "resnet20", "jax", "cpu", "A CPU", 2, {"keras": "3", "jax": "0"}, seconds, {"batch": 128})
    shares = projection.training_shares(row)
    expected = {
        "callback 1": 0.05,
        "whole callback 1": 0.1,
        "callback 20": 0.005,
        "whole callback 20": 0.01,
        "callback 250": 0.001,
    }
    assert shares == pytest.approx(expected)
    assert "| ResNet-20 | JAX | 128 | 1.00 s | 50.0 ms | 5 % | 0.5 % | 0.1 % | 10 % | - |" in projection.training_table([row])


def test_exponents():
    values = np.array([1, 10, 100, 1000])
    assert projection.slope(values, 7.0 * values**3, 10) == pytest.approx(3)
    counts = [projection.multiply_adds(size, size // 2, 1, warm=False) for size in (100, 200)]
    assert counts[1] == pytest.approx(8 * counts[0])
    cold, warm = (projection.multiply_adds(512, 64, 3, warm=warm) for warm in (False, True))
    assert warm < cold


def test_without_pytorch(subject, monkeypatch):
    monkeypatch.setitem(importlib.import_module("sys").modules, "torch", None)
    with pytest.raises(MissingExtraError, match="torch"):
        projection.PlainTorch(subject.projector.targets)


def test_the_transformer_is_planned():
    model = projection.vit(image=16, patch=8, width=12, depth=2, heads=2, mlp=24, classes=3)
    plan = projection.lrpet.make_plan(model, projection.RANK, exclude="logits", keep_if_no_gain=True)
    assert len(plan) == 1 + 2 * (4 + 2)


def test_the_page_shows_the_figures():
    page = (projection.DOCS / "performance.md").read_text()
    for name, content in projection.sections(projection.read(projection.DOCS / "projection.json")).items():
        assert measuring.replace_section(page, name, content) == page, name
    with pytest.raises(projection.lrpet.LowRankError, match="nowhere"):
        measuring.replace_section(page, "nowhere", "")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(12.345, "12.3 s"), (1.0, "1.00 s"), (0.12345, "123 ms"), (0.0012345, "1.23 ms"), (4.5e-5, "45.0 µs")],
)
def test_durations(seconds, expected):
    assert measuring.duration(seconds) == expected


def test_turns():
    order = []
    contestants = {
        name: measuring.Contestant(lambda name=name: order.append(name), lambda: order.append("prepare")) for name in "ab"
    }
    found = measuring.interleaved(contestants, rounds=2)
    assert order == ["prepare", "a", "prepare", "b"] * 3
    assert {name: len(values) for name, values in found.items()} == {"a": 2, "b": 2}


def test_peak_memory():
    size = 40_000_000
    growth = measuring.peak_growth(lambda: np.ones(size // 8).sum())
    assert 0.95 * size < growth < 1.2 * size
