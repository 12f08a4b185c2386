"""What the README says is what the code does."""

import json
import pathlib
import re

import keras
import numpy as np
import pytest

import lrpet_tf as lrpet
from tests import models

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
RESULTS = ROOT / "examples" / "cifar10" / "results"


@pytest.mark.tensorflow
@pytest.mark.slow
def test_the_whole_job_runs_as_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model, images = models.residual()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((np.tile(images, (8, 1, 1, 1)), np.arange(32) % 5)).batch(8)
    code = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0]
    assert len(code.strip().splitlines()) == 5
    names = {"model": model, "train": data, "val": data}
    exec(code.replace("epochs=30", "epochs=2"), names)
    assert (tmp_path / "net.tflite").stat().st_size == names["report"].size_bytes
    assert "top-1 agreement 100.0 %" in capsys.readouterr().out


@pytest.mark.tensorflow
def test_the_fine_tuning_runs_as_written():
    import tensorflow as tf

    (code,) = [code for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "small.fit" in code]
    model, images = models.residual()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    plan = lrpet.make_plan(model, 0.25, exclude="head")
    data = tf.data.Dataset.from_tensor_slices((np.tile(images, (8, 1, 1, 1)), np.arange(32) % 5)).batch(8)
    names = {"keras": keras, "lrpet": lrpet, "model": model, "plan": plan, "train": data}
    exec(code, names)
    assert int(names["small"].optimizer.iterations) == 2 * len(data)
    assert lrpet.count_macs(names["small"]) < lrpet.count_macs(model)


def test_every_name_in_the_readme_exists():
    for name in set(re.findall(r"lrpet\.([A-Za-z_]+(?:\.[A-Za-z_0-9]+)?)", README)):
        value = lrpet
        for part in name.split("."):
            assert hasattr(value, part), name
            value = getattr(value, part)


@pytest.mark.parametrize(
    ("name", "row"), [("resnet20_dense", "dense, 15 epochs"), ("resnet20_lrpet_046", "LRPET at share 0.46")]
)
def test_the_cifar_rows_are_the_committed_results(name, row):
    result = json.loads((RESULTS / f"{name}.json").read_text())
    (line,) = [line for line in README.splitlines() if line.startswith(f"| {row}")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert f"{result['experiment']['epochs']} epochs" in cells[0]
    assert cells[1:] == [
        f"{100 * result['test_accuracy']:.2f} %",
        f"{result['macs'] / 1e6:.2f} M",
        f"{result['params'] / 1e6:.2f} M",
    ]


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("resnet20_lrpet_046", "| uniform share 0.46 |"),
        ("resnet20_lrpet_046_cubic", '| uniform share 0.46, `schedule="cubic"` |'),
        ("resnet20_lrpet_budget", "| `MacsBudget`, planned after 2 epochs |"),
        ("resnet20_lrpet_budget_cubic", '| `MacsBudget`, planned after 2 epochs, `schedule="cubic"` |'),
    ],
)
def test_the_rows_of_the_rules_are_the_committed_results(name, row):
    result = json.loads((RESULTS / f"{name}.json").read_text())
    (line,) = [line for line in README.splitlines() if line.startswith(row)]
    assert line == f"{row} {100 * result['test_accuracy']:.2f} % |"
    assert 0.99 * 20147840 < result["macs"] <= 20147840


def test_the_rows_of_the_fine_tuning_are_the_committed_results():
    result = json.loads((RESULTS / "resnet20_dense_finetuned.json").read_text())
    settings, given = result["settings"], result["not_factorized"]
    assert settings["ranks"] == ["0.46", "MacsBudget(0.5)"]
    assert (settings["epochs"], settings["learning_rate"], settings["recalibration_steps"]) == (2, 0.02, 50)
    rows = {
        "dense, trained on in the same way": {**given, "as_cut": given["test_accuracy"], "recalibrated": None},
        "uniform share 0.46, fine-tuned": result["factorized"][0],
        "`MacsBudget(0.5)`, fine-tuned": result["factorized"][1],
    }
    for name, row in rows.items():
        assert len(row["history"]) == 2
        accuracies = [row[key] for key in ("as_cut", "recalibrated", "fine_tuned")]
        shown = ["-" if each is None else f"{100 * each:.2f} %" for each in accuracies]
        cells = [name, f"{row['macs'] / 1e6:.2f} M", *shown, f"{row['seconds']:.0f} s"]
        assert f"| {' | '.join(cells)} |" in README.splitlines()


def test_the_latencies_are_the_committed_ones():
    rows = json.loads((ROOT / "docs" / "latency.json").read_text())["rows"]
    found = {(row["quantize"], row["plan"]): f"{row['measured']:.2f}" for row in rows if row["model"] == "ResNet-20"}
    uniform, fastest = ([found[quantize, plan] for quantize in (None, "int8")] for plan in (
        "uniform share 0.5", "fastest that keeps no less energy"))  # fmt: skip
    text = " ".join(README.split())
    assert f"takes {uniform[0]} of the dense time in float32 and {uniform[1]} in int8 with a uniform share" in text
    assert f"{fastest[0]} and {fastest[1]} with the fastest plan by latency that keeps no less energy" in text


def test_the_figures_about_the_end_of_a_training_are_the_committed_ones():
    ends = json.loads((RESULTS / "resnet20_ends.json").read_text())["ends"]
    trained = [100 * end["test_accuracy"] for end in ends if end["start"] == "trained with LRPET"]
    cut = {
        (end["energy"], end["recalibrated"]): 100 * end["test_accuracy"] for end in ends if end["start"] != "trained with LRPET"
    }
    assert f"{min(trained):.2f} to {max(trained):.2f} %" in README
    assert f"{cut['merged', False]:.1f} %" in README
    assert f"{cut['merged', True]:.1f} %" in README


def test_the_commands_are_targets_of_the_makefile():
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"^make (\w+)", README, re.MULTILINE)) == {"demo", "test"} <= set(targets)
    assert "make test" in (ROOT / ".ci" / "run").read_text()
