import os
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
from keras import layers

import lrpet_tf as lrpet
from lrpet_tf import cli
from tests import models

pytestmark = pytest.mark.tensorflow


def _save(path, rank=None):
    """Saves a model, its kernels of a rank where one is given, and returns it with inputs and the plan."""
    model, images = models.residual()
    plan = lrpet.make_plan(model, 0.25 if rank is None else rank)
    if rank is not None:
        lrpet.Projector(model, plan).project()
    model.save(path)
    return model, images, plan


def _run(*arguments):
    return cli.main(["lrpet", "export", *map(str, arguments)])


def _outputs(path, inputs):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    (into,), (out,) = interpreter.get_input_details(), interpreter.get_output_details()
    results = []
    for sample in inputs:
        interpreter.set_tensor(into["index"], sample[None])
        interpreter.invoke()
        results.append(interpreter.get_tensor(out["index"])[0])
    return np.array(results), " ".join(tensor["name"] for tensor in interpreter.get_tensor_details())


def test_the_ranks_that_training_has_left(tmp_path, capsys):
    model, images, plan = _save(tmp_path / "net.keras", rank=0.25)
    assert _run(tmp_path / "net.keras", tmp_path / "net.tflite") == 0
    outputs, names = _outputs(tmp_path / "net.tflite", images)
    np.testing.assert_allclose(outputs, model.predict(images, verbose=0), atol=1e-5)
    assert [f"{path}_factor0" in names for path in plan] == [True] * len(plan) != []
    streams = capsys.readouterr()
    assert "against the reference" in streams.out
    assert "Warning" not in streams.err
    assert {path.name for path in tmp_path.iterdir()} == {"net.keras", "net.tflite"}


def test_a_dense_model_is_exported_as_it_is(tmp_path, capsys):
    model, images, _ = _save(tmp_path / "net.keras")
    assert _run(tmp_path / "net.keras", tmp_path / "net.tflite") == 0
    outputs, names = _outputs(tmp_path / "net.tflite", images)
    np.testing.assert_allclose(outputs, model.predict(images, verbose=0), atol=1e-5)
    assert "_factor0" not in names
    streams = capsys.readouterr()
    assert "No kernel is of low rank" in streams.err
    assert "net.tflite (float32)" in streams.out


@pytest.mark.parametrize("given", ["--rank=0.25", "--plan=plan.json"])
def test_a_rank_or_a_plan(tmp_path, monkeypatch, capsys, given):
    monkeypatch.chdir(tmp_path)
    _, images, plan = _save("net.keras")
    plan.save("plan.json")
    assert _run(given, "net.keras", "net.tflite") == 0
    assert all(f"{path}_factor0" in _outputs("net.tflite", images)[1] for path in plan)
    assert "Warning: 3 of 3 kernels are not of their planned rank" in capsys.readouterr().err


def test_nothing_is_overwritten_without_force(tmp_path, capsys, monkeypatch):
    _save(tmp_path / "net.keras", rank=0.25)
    target = tmp_path / "net.tflite"
    target.write_text("mine")
    with monkeypatch.context() as patch:
        patch.setattr(keras.models, "load_model", None)  # checked before any work
        assert _run(tmp_path / "net.keras", target) == 1
    assert "--force" in capsys.readouterr().err
    assert target.read_text() == "mine"
    assert _run(tmp_path / "net.keras", target, "--force") == 0
    assert target.stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["net.keras", "net.tf"], "must end in '.tflite'"),
        (["net.keras", "nowhere/net.tflite"], "folder of the file does not exist"),
        (["missing.keras", "net.tflite"], "there is no such file"),
        (["net.keras", "net.tflite", "--rank=what"], "Received: rank='what'"),
        (["net.keras", "net.tflite", "--plan=missing.json"], "missing.json"),
        (["net.keras", "net.tflite", "--plan=net.keras"], "not a plan"),
        (["net.keras", "net.tflite", "--rank=0.5", "--plan=plan.json"], "not both"),
    ],
)
def test_errors_of_the_user(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    keras.Sequential([keras.Input((4,)), layers.Dense(4)]).save("net.keras")
    assert _run(*arguments) == 1
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.startswith("lrpet export: ")
    assert message in streams.err
    assert {path.name for path in tmp_path.iterdir()} == {"net.keras"}


def test_lambda_layers_need_a_word(tmp_path, capsys):
    keras.Sequential([keras.Input((8,)), layers.Lambda(lambda x: x * 2), layers.Dense(4)]).save(tmp_path / "net.keras")
    assert _run(tmp_path / "net.keras", tmp_path / "net.tflite") == 1
    assert "--unsafe" in capsys.readouterr().err
    assert _run(tmp_path / "net.keras", tmp_path / "net.tflite", "--unsafe") == 0


def test_help_and_wrong_usage(capsys):
    assert _run("--help") == 0
    text = capsys.readouterr().out
    assert all(f"--{flag}" in text for flag in ("rank", "plan", "force", "unsafe"))
    assert "lrpet export model.keras net.tflite" in text
    assert _run("net.keras") == 2
    assert "Expected MODEL FILE" in capsys.readouterr().err


def test_on_another_backend_it_runs_in_a_process_of_its_own(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    seen = {}

    def run(command, env, check):
        seen.update(command=command, backend=env["KERAS_BACKEND"])
        return subprocess.CompletedProcess(command, 7)

    monkeypatch.setattr(cli.subprocess, "run", run)
    assert _run("net.keras", "net.tflite", "--force") == 7
    assert seen["command"] == [sys.executable, "-m", "lrpet_tf", "export", "net.keras", "net.tflite", "--force"]
    assert seen["backend"] == "tensorflow"
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: None)
    assert _run("net.keras", "net.tflite") == 1


TRAINING = """
    import keras
    import numpy as np
    from keras import layers

    import lrpet_tf as lrpet

    assert keras.backend.backend() == "jax"
    keras.utils.set_random_seed(0)
    parts = [
        keras.Input((8, 8, 3)),
        layers.Conv2D(16, 3, padding="same", use_bias=False, name="conv1"), layers.BatchNormalization(), layers.ReLU(),
        layers.Conv2D(16, 3, padding="same", use_bias=False, name="conv2"), layers.BatchNormalization(), layers.ReLU(),
        layers.Flatten(),
        layers.Dense(5, activation="softmax", name="head"),
    ]
    model = keras.Sequential(parts)
    model.compile("adam", "sparse_categorical_crossentropy")
    images = np.random.default_rng(0).standard_normal((32, 8, 8, 3)).astype("float32")
    callback = lrpet.LRPETCallback(rank=0.25, exclude="head")
    model.fit(images, np.arange(32) % 5, epochs=2, verbose=0, callbacks=[callback])
    model.save("trained.keras")
    np.save("images.npy", images)
    np.save("predictions.npy", model.predict(images, verbose=0))
"""


@pytest.mark.slow
def test_a_model_trained_on_jax_is_exported_in_the_same_shell(tmp_path):
    pytest.importorskip("jax")
    shell = {**os.environ, "KERAS_BACKEND": "jax"}
    shell["PYTHONPATH"] = os.pathsep.join([*sys.path, os.environ.get("PYTHONPATH", "")])
    options = {"cwd": tmp_path, "env": shell, "capture_output": True, "text": True, "check": True}
    subprocess.run([sys.executable, "-c", textwrap.dedent(TRAINING)], **options)
    command = [sys.executable, "-m", "lrpet_tf", "export", "trained.keras", "net.tflite"]
    result = subprocess.run(command, **options)
    assert "against the reference" in result.stdout
    assert "Warning" not in result.stderr
    outputs, names = _outputs(tmp_path / "net.tflite", np.load(tmp_path / "images.npy"))
    np.testing.assert_allclose(outputs, np.load(tmp_path / "predictions.npy"), atol=1e-5, rtol=0)
    assert "conv1_factor0" in names
    assert "conv2_factor0" in names
