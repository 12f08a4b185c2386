"""The example on fine-tuning runs, goes on and reports; on a tiny network and a handful of images instead of CIFAR-10."""

import json
import pathlib
import shutil

import keras
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

import lrpet_tf as lrpet
from examples.cifar10 import data, finetune, training

SETTINGS = {
    "ranks": ["0.25", "MacsBudget(0.5)"],
    "exclude": ["logits"],
    "epochs": 3,
    "batch_size": 16,
    "learning_rate": 0.05,
    "recalibration_steps": 2,
    "seed": 1,
}


def _split(split, data_dir=None):
    """Images of three classes that differ by their brightest colour."""
    rng = np.random.default_rng(len(split))
    labels = rng.integers(0, 3, 64)
    images = rng.integers(0, 128, (64, 32, 32, 3), dtype="uint8")
    images[np.arange(64), :, :, labels] += 64
    return images, labels


@pytest.fixture
def settings(monkeypatch, tmp_path):
    monkeypatch.setattr(data, "load", _split)
    inputs = x = keras.Input((32, 32, 3))
    for index in (1, 2):
        x = keras.layers.Conv2D(16, 3, strides=4, padding="same", use_bias=False, name=f"conv{index}")(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    path = tmp_path / "tiny" / "final.keras"
    path.parent.mkdir()
    keras.Model(inputs, keras.layers.Dense(3, name="logits")(x)).save(path)
    return {"model": str(path), **SETTINGS}


@pytest.fixture
def parsed_flags():
    flags.FLAGS.mark_as_parsed()
    yield
    flags.FLAGS.unparse_flags()


def _weights(model):
    return {f"{layer.name}/{index}": value for layer in model.layers for index, value in enumerate(layer.get_weights())}


def test_each_rank_is_cut_recalibrated_and_fine_tuned(settings):
    result = finetune.run(settings, None)
    assert set(result) == {"settings", "keras", "backend", "not_factorized", "factorized"}
    assert result["settings"] == settings
    trained = {"macs", "params", "fine_tuned", "seconds", "history"}
    given = result["not_factorized"]
    assert set(given) == {*trained, "test_accuracy"}
    assert [each["rank"] for each in result["factorized"]] == settings["ranks"]
    for each in result["factorized"]:
        assert set(each) == {*trained, "rank", "energy_kept", "as_cut", "recalibrated"}
        assert each["macs"] < given["macs"]
        assert 0 < each["energy_kept"] < 1
        assert 0 < each["seconds"] == pytest.approx(sum(row["seconds"] for row in each["history"]), abs=0.1)
    for each in (given, *result["factorized"]):
        assert [row["epoch"] for row in each["history"]] == [0, 1, 2]
        assert each["history"][-1]["loss"] < 0.9 * each["history"][0]["loss"]
        assert each["fine_tuned"] == pytest.approx(each["history"][-1]["val_accuracy"], abs=1e-5)
    json.dumps(result)


def test_fine_tuning_trains_the_factors_in_place(settings, tmp_path, monkeypatch):
    starts = []
    fine_tune = finetune.fine_tune

    def watched(small, *arguments):
        starts.append(_weights(small))
        return fine_tune(small, *arguments)

    monkeypatch.setattr(finetune, "fine_tune", watched)
    finetune.run({**settings, "ranks": ["0.25"]}, None)
    (folder,) = (tmp_path / "tiny" / "finetune").glob("0.25_*")
    start, end = starts[1], _weights(keras.models.load_model(folder / "last.keras"))
    assert start.keys() == end.keys()
    factors = [name for name in start if name in {"conv2_factor0/0", "conv2/0"}]
    assert [start[name].shape for name in factors] == [(3, 3, 16, 4), (1, 1, 4, 16)]
    for name in factors:
        assert np.abs(end[name] - start[name]).max() > 1e-3


def test_a_model_of_low_rank_loses_nothing_when_it_is_cut_to_that_rank(settings):
    model = keras.models.load_model(settings["model"])
    plan = lrpet.make_plan(model, 0.25, exclude="logits")
    lrpet.Projector(model, plan).project()
    model.save(settings["model"])
    result = finetune.run({**settings, "ranks": ["0.25"], "epochs": 1}, None)
    (small,) = result["factorized"]
    assert small["energy_kept"] == pytest.approx(1, abs=1e-5)
    assert small["as_cut"] == result["not_factorized"]["test_accuracy"]


class _Stop(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt


def test_an_interrupted_run_goes_on_and_a_finished_one_is_kept(settings, tmp_path, monkeypatch):
    settings = {**settings, "ranks": []}
    keep = training.keep
    monkeypatch.setattr(training, "keep", lambda *arguments: [*keep(*arguments), _Stop()])
    with pytest.raises(KeyboardInterrupt):
        finetune.run(settings, None)
    monkeypatch.setattr(training, "keep", keep)
    (folder,) = (tmp_path / "tiny" / "finetune").iterdir()
    assert len(training.history(folder)) == 2
    halves = finetune.run(settings, None)
    assert finetune.run(settings, None) == halves  # seconds and all: nothing is trained again
    shutil.rmtree(folder)
    whole = finetune.run(settings, None)
    for one, other in zip(whole["not_factorized"]["history"], halves["not_factorized"]["history"], strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)


def test_another_model_rank_or_setting_has_a_folder_of_its_own(settings):
    folder = finetune._folder(settings, "MacsBudget(0.5)")
    assert folder.name.startswith("MacsBudget_0.5_")
    others = [
        finetune._folder(settings, "0.5"),
        finetune._folder({**settings, "learning_rate": 0.01}, "MacsBudget(0.5)"),
    ]
    assert finetune._folder({**settings, "ranks": ["0.3"]}, "MacsBudget(0.5)") == folder
    pathlib.Path(settings["model"]).write_bytes(b"trained anew")
    others.append(finetune._folder(settings, "MacsBudget(0.5)"))
    assert len({folder, *others}) == 4


def test_the_command_prints_a_table_and_writes_the_result(settings, parsed_flags, tmp_path, capsys):
    options = {key: str(settings[key]) for key in ("model", "batch_size", "recalibration_steps")}
    with flagsaver.as_parsed(**options, rank=["0.25"], epochs="1", results=str(tmp_path / "results")):
        finetune.main([])
    result = json.loads((tmp_path / "results" / "tiny_finetuned.json").read_text())
    assert result["settings"]["ranks"] == ["0.25"]
    output = capsys.readouterr().out
    for heading in ("ranks", "MACs", "as cut", "recalibrated", "fine-tuned", "not factorized"):
        assert heading in output
    for key in ("as_cut", "recalibrated", "fine_tuned"):
        assert f"{100 * result['factorized'][0][key]:.2f} %" in output
