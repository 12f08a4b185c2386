"""Real architectures: at full rank nothing changes, and the exported file agrees."""

import dataclasses
import importlib.util
import pathlib

import keras
import numpy as np
import pytest

import lrpet_tf as lrpet

ROOT = pathlib.Path(__file__).parents[1]
_spec = importlib.util.spec_from_file_location("applications", ROOT / "tools" / "applications.py")
applications = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(applications)

COMMITTED = applications.read(applications.DOCS / "applications.json")
# Depthwise layers, linear and gated blocks, separable convolutions, and depthwise ones as grouped, in models inside the model.
MEASURED = ("MobileNetV2", "MobileNetV3Small", "Xception", "ConvNeXtTiny")


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize("name", MEASURED)
def test_full_rank_reproduces_the_outputs_and_the_file_agrees(name):
    row = applications.measure(name)
    assert row.is_clean
    assert row.half_macs < row.macs
    far_apart = {"difference": 0.0, "tflite_difference": 0.0}
    assert dataclasses.replace(row, **far_apart) == dataclasses.replace(COMMITTED[name], **far_apart)


@pytest.fixture
def in_float64():
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx(before[0])
    keras.config.set_dtype_policy(before[1])


@pytest.mark.slow
@pytest.mark.usefixtures("in_float64")
def test_what_differs_is_the_rounding_of_float32():
    model = applications.build("MobileNetV3Small")
    small = lrpet.factorize(model, lrpet.make_plan(model, 1.0, keep_if_no_gain=True))
    images = applications.random_images(4, seed=1)
    expected, received = (keras.ops.convert_to_numpy(each(images)) for each in (model, small))
    assert expected.dtype == np.float64
    assert abs(expected - received).max() < 1e-11 * abs(expected).max()


@pytest.mark.slow
@pytest.mark.tensorflow
def test_the_outputs_depend_on_the_images():
    model = applications.build("MobileNetV2")
    outputs = model.predict(applications.random_images(4, seed=1), verbose=0)
    assert outputs.std(axis=0).max() > 0.05 * abs(outputs).max()


def test_the_committed_table_holds_every_model_and_is_clean():
    assert list(COMMITTED) == applications.names()
    assert [row for row in COMMITTED.values() if not row.is_clean] == []
    assert all(row.layers == row.rewritten + sum(row.skipped.values()) for row in COMMITTED.values())
    assert all(0 < row.half_macs < row.macs for row in COMMITTED.values())


def test_the_page_shows_the_figures():
    page = (applications.DOCS / "applications.md").read_text()
    assert page.endswith(f"{applications.MARK}\n{applications.markdown(list(COMMITTED.values()))}")


@pytest.fixture
def docs(tmp_path):
    (tmp_path / "applications.md").write_text(f"# Models\n\n{applications.MARK}\nan old table\n")
    return tmp_path


def _row(name):
    skipped = {"depthwise (groups=8): no rank": 1, "depthwise (groups=16): no rank": 2, "tied": 3}
    return applications.Row(name, layers=10, rewritten=4, skipped=skipped, macs=2 * 10**6, half_macs=10**6, difference=2e-6)


def test_a_run_that_was_stopped_goes_on_where_it_stopped(docs, monkeypatch):
    every = applications.names()
    measured = []

    def stop_at_the_third(name):
        if len(measured) == 2:
            raise KeyboardInterrupt
        return measure(name)

    def measure(name):
        measured.append(name)
        return _row(name)

    monkeypatch.setattr(applications, "measure_apart", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        applications.run(docs, [])
    assert measured == every[:2] == list(applications.read(docs / "applications.json"))
    monkeypatch.setattr(applications, "measure_apart", measure)
    assert applications.run(docs, []) == []
    assert measured == every
    assert applications.run(docs, [every[5]]) == []
    assert measured == [*every, every[5]]
    assert applications.read(docs / "applications.json") == {name: _row(name) for name in every}
    page = (docs / "applications.md").read_text()
    assert page.startswith(f"# Models\n\n{applications.MARK}\n| model ")
    assert page.endswith("| Xception | 10 | 4 | 3 × depthwise; 3 × tied | 2.00 M | 1.00 M (0.50) | 2e-06 | 0e+00 |\n")


def test_a_failure_is_shown_and_measured_again(docs, monkeypatch):
    first, *others = applications.names()
    failed = applications.Row(first, error="ValueError: too | bad")
    applications.write({name: _row(name) for name in others} | {first: failed}, docs)
    assert (
        f"| {first} | - | - | **failed**: ValueError: too ¦ bad | - | - | - | - |\n" in (docs / "applications.md").read_text()
    )
    monkeypatch.setattr(applications, "measure_apart", lambda name: {first: failed}[name])
    assert applications.run(docs, []) == [first]


def test_a_model_that_keras_has_no_more_leaves_the_table(docs, monkeypatch):
    applications.write({name: _row(name) for name in (*applications.names(), "Gone")}, docs)
    monkeypatch.setattr(applications, "measure_apart", _row)
    applications.run(docs, ["VGG16"])
    assert list(applications.read(docs / "applications.json")) == applications.names()


@pytest.mark.parametrize("figure", ["difference", "tflite_difference"])
@pytest.mark.parametrize("value", [1.1e-5, float("nan")])
def test_outputs_far_apart_are_not_clean(figure, value):
    row = applications.Row("any", layers=1, rewritten=1)
    assert row.is_clean
    assert not dataclasses.replace(row, **{figure: value}).is_clean


def test_a_model_that_cannot_be_measured_is_a_row_with_an_error(monkeypatch):
    monkeypatch.setattr(applications, "ProcessPoolExecutor", lambda *_: _raise(MemoryError("no\nmore")))
    assert applications.measure_apart("VGG16") == applications.Row("VGG16", error="MemoryError: no more")


def _raise(error):
    raise error
