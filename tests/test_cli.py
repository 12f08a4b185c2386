import json
import subprocess
import sys

import keras
import pytest
from absl import flags
from keras import layers

import lrpet_tf as lrpet
from lrpet_tf import cli
from tests import models

NAMES = {"plan.json", "spectra.png", "budget.png"}


@pytest.fixture
def saved(tmp_path):
    model, _ = models.nested()
    model.save(tmp_path / "net.keras")
    return tmp_path / "net.keras"


def _run(*arguments):
    return cli.main(["lrpet", *map(str, arguments)])


def _files(folder):
    return {path.name for path in folder.iterdir()}


def test_analyze(saved, capsys):
    pytest.importorskip("matplotlib")
    assert _run("analyze", saved) == 0
    folder = saved.with_name("net_analysis")
    assert _files(folder) == NAMES
    plan = lrpet.Plan.load(folder / "plan.json")
    expected = lrpet.make_plan(keras.models.load_model(saved), lrpet.MacsBudget(0.5))
    assert plan == expected
    streams = capsys.readouterr()
    assert str(expected) in streams.out
    assert str(folder / "budget.png") in streams.err
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in NAMES - {"plan.json"})


def test_options_and_json(saved, tmp_path, capsys):
    output = tmp_path / "a" / "b"
    arguments = ["--rank=0.25", "--exclude=stem", "--exclude", "outer/.*", "--output", output, "--json"]
    assert _run("analyze", *arguments, saved) == 0
    plan = lrpet.Plan.from_json(capsys.readouterr().out)
    expected = lrpet.make_plan(keras.models.load_model(saved), 0.25, exclude=["stem", "outer/.*"])
    assert [(layer.path, layer.rank) for layer in plan.layers] == [(layer.path, layer.rank) for layer in expected.layers]
    assert all(0 < layer.energy_kept < 1 for layer in plan.layers)
    assert plan == lrpet.Plan.load(output / "plan.json")


def test_nothing_is_overwritten_without_force(saved, capsys, monkeypatch):
    folder = saved.with_name("net_analysis")
    folder.mkdir()
    (folder / "budget.png").write_text("mine")
    with monkeypatch.context() as patch:
        patch.setattr(keras.models, "load_model", None)  # checked before any work
        assert _run("analyze", saved) == 1
    assert "budget.png" in capsys.readouterr().err
    assert _files(folder) == {"budget.png"}
    assert (folder / "budget.png").read_text() == "mine"
    assert _run("analyze", saved, "--force") == 0
    assert _files(folder) == NAMES
    assert (folder / "budget.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib(saved, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert _run("analyze", saved) == 0
    streams = capsys.readouterr()
    assert "Low-rank plan" in streams.out
    assert "pip install 'lrpet-tf[plot]'" in streams.err
    assert _files(saved.with_name("net_analysis")) == {"plan.json"}


def test_an_empty_plan_is_an_answer_too(saved, capsys):
    assert _run("analyze", saved, "--rank=1.0") == 0
    streams = capsys.readouterr()
    assert "0 layers factorized" in streams.out
    assert "spectra.png is not drawn" in streams.err
    assert _files(saved.with_name("net_analysis")) == {"plan.json", "budget.png"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rank=what"], "Received: rank='what'"),
        (["--rank=MacsBudget(2.5)"], "Received: 2.5"),
        (["--rank=MacsBudget(0.001)"], "cannot be reached"),
        (["--rank={'nothing': 0.5}"], "matches no layer"),
        (["--include=nothing"], "matches no layer"),
        (["--rank=1000"], "Received: rank=1000"),
    ],
)
def test_errors_of_the_user(saved, capsys, arguments, message):
    assert _run("analyze", saved, *arguments) == 1
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.startswith("lrpet analyze: ")
    assert message in streams.err
    assert "Traceback" not in streams.err
    assert _files(saved.parent) == {"net.keras"}


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.dense = layers.Dense(24)

    def call(self, inputs):
        return self.dense(inputs)


def test_a_subclassed_model_is_analyzed_as_well(tmp_path, capsys):
    subclassed = Subclassed()
    subclassed(keras.ops.ones((1, 30)))
    subclassed.save(tmp_path / "subclassed.keras")
    assert _run("analyze", tmp_path / "subclassed.keras", "--rank=0.25") == 0
    assert "dense" in capsys.readouterr().out


def test_what_is_no_model(tmp_path, capsys):
    (tmp_path / "text.keras").write_text("no model")
    (tmp_path / "text.h5").write_text("no model")
    (tmp_path / "text.txt").write_text("no model")
    (tmp_path / "folder.keras").mkdir()
    before = _files(tmp_path)
    for name, message in {
        "missing.keras": "there is no such file", "text.keras": "cannot load", "text.h5": "cannot load", "text.txt": "'.txt'",
        "folder.keras": "it is a folder",
    }.items():  # fmt: skip
        assert _run("analyze", tmp_path / name) == 1
        error = capsys.readouterr().err
        assert message in error
        assert name in error or "Subclassed" in error
        assert "Traceback" not in error
    assert _files(tmp_path) == before


def test_lambda_layers_need_a_word(tmp_path, capsys):
    parts = [keras.Input((16,)), layers.Lambda(lambda x: x * 2), layers.Dense(32, name="dense")]
    keras.Sequential(parts).save(tmp_path / "net.keras")
    assert _run("analyze", tmp_path / "net.keras") == 1
    assert "--unsafe" in capsys.readouterr().err
    assert _run("analyze", tmp_path / "net.keras", "--unsafe", "--json") == 0
    assert "dense" in lrpet.Plan.from_json(capsys.readouterr().out)


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["what"], ["--what"], ["analyze"], ["analyze", "a.keras", "b.keras"], ["analyze", "a.keras", "--what=1"],
        ["analyze", "a.keras", "--decomposition=what"], ["analyze", "a.keras", "--force=what"],
    ],
)  # fmt: skip
def test_wrong_usage(arguments, capsys):
    assert _run(*arguments) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert "analyze" in streams.err


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["analyze", "--help"], ["analyze", "-h"]])
def test_help_shows_examples(arguments, capsys):
    assert _run(*arguments) == 0
    text = capsys.readouterr().out
    assert "Usage: lrpet" in text
    assert "lrpet analyze model.keras" in text
    if "analyze" in arguments:
        for flag in ("rank", "decomposition", "include", "exclude", "output", "force", "json", "unsafe"):
            assert f"--{flag}" in text


def test_version(capsys):
    assert _run("--version") == 0
    assert lrpet.__version__ in capsys.readouterr().out


def test_no_flag_leaks(saved):
    before = set(flags.FLAGS)
    assert _run("analyze", saved, "--json") == 0
    assert set(flags.FLAGS) == before


@pytest.mark.slow
def test_as_a_program(saved):
    command = [sys.executable, "-m", "lrpet_tf", "analyze", str(saved), "--json"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(result.stdout)["layers"]
    assert "cuInit" not in result.stderr
