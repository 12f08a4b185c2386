"""The experiments run, stop, go on and report; on a handful of random images instead of CIFAR-10."""

import json
import pathlib

import keras
import numpy as np
import pytest

from examples.cifar10 import data, outcome, train

EXPERIMENTS = pathlib.Path(train.__file__).parent / "experiments"
RESULTS = pathlib.Path(train.__file__).parent / "results"


@pytest.fixture(autouse=True)
def random_images(monkeypatch):
    def load(split, data_dir=None):
        rng = np.random.default_rng(len(split))
        return rng.integers(0, 256, (48, 32, 32, 3), dtype="uint8"), rng.integers(0, 10, 48)

    monkeypatch.setattr(data, "load", load)


def _settings(**changes):
    settings = json.loads((EXPERIMENTS / "resnet20_lrpet_046.json").read_text())
    return {**settings, "epochs": 2, "batch_size": 16, "dtype_policy": "float32", **changes}


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "lrpet",
    [
        {"rank": 0.46, "exclude": ["logits"]},
        {"rank": "MacsBudget(20147840)", "warmup_epochs": 1, "schedule": "linear", "exclude": ["logits"]},
    ],
)
def test_a_run_and_one_that_was_interrupted_end_alike(tmp_path, monkeypatch, lrpet):
    settings = _settings(lrpet=lrpet)
    whole = train.run(settings, tmp_path / "whole", None)
    assert 0.99 * 20147840 < whole["macs"] <= 20147840
    assert [row["epoch"] for row in whole["history"]] == [0, 1]
    assert (tmp_path / "whole" / "final.keras").exists()

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    callbacks = train._callbacks
    monkeypatch.setattr(train, "_callbacks", lambda *arguments: [*callbacks(*arguments), Stop()])
    with pytest.raises(KeyboardInterrupt):
        train.run(settings, tmp_path / "halves", None)
    monkeypatch.setattr(train, "_callbacks", callbacks)
    halves = train.run(settings, tmp_path / "halves", None)
    assert (tmp_path / "halves" / "plan.json").read_text() == (tmp_path / "whole" / "plan.json").read_text()
    assert [row["epoch"] for row in halves["history"]] == [0, 1]
    for one, other in zip(whole["history"], halves["history"], strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)


def test_the_committed_results_belong_to_the_committed_experiments():
    for path in EXPERIMENTS.glob("*.json"):
        result = json.loads((RESULTS / path.name).read_text())
        assert result["experiment"] == json.loads(path.read_text())
        assert len(result["history"]) == result["experiment"]["epochs"]
        assert result["test_accuracy"] == pytest.approx(result["history"][-1]["val_accuracy"], abs=3e-3)


def test_accuracy_and_json(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Identity()])
    assert outcome.accuracy(model, np.eye(3), np.array([0, 1, 0])) == pytest.approx(2 / 3)
    outcome.write_json(tmp_path / "deep" / "result.json", {"a": 1})
    assert json.loads((tmp_path / "deep" / "result.json").read_text()) == {"a": 1}
    assert len(list((tmp_path / "deep").iterdir())) == 1
