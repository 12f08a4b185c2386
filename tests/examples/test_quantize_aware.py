"""The example on quantization-aware training runs, goes on and reports; on a tiny network and a handful of images."""

import json

import keras
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

import lrpet_tf as lrpet
from examples.cifar10 import data, quantize_aware, training

pytestmark = pytest.mark.tensorflow
SETTINGS = {
    "epochs": 2,
    "learning_rate": 0.05,
    "batch_size": 16,
    "images": 48,
    "calibration_images": 32,
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
    model = keras.Model(inputs, keras.layers.Dense(3, name="logits")(x))
    path = tmp_path / "tiny" / "final.keras"
    path.parent.mkdir()
    plan = lrpet.make_plan(model, 0.25, exclude="logits")
    lrpet.Projector(model, plan).project()
    model.save(path)
    plan.save(path.with_name("plan.json"))
    return {"model": str(path), **SETTINGS}


@pytest.fixture
def parsed_flags():
    flags.FLAGS.mark_as_parsed()
    yield
    flags.FLAGS.unparse_flags()


def test_an_interrupted_run_goes_on_and_the_files_are_measured(settings, monkeypatch, tmp_path, parsed_flags, capsys):
    epochs = []
    batches = data.augmented_batches

    def stopping(*arguments, first_epoch, **options):
        epochs.append(first_epoch)
        if epochs == [0, 1]:
            raise KeyboardInterrupt
        return batches(*arguments, first_epoch=first_epoch, **options)

    monkeypatch.setattr(data, "augmented_batches", stopping)
    with pytest.raises(KeyboardInterrupt):
        quantize_aware.run(settings, None)
    options = {"trained": settings["model"]} | {f"qat_{key}": str(settings[key]) for key in ("epochs", "batch_size", "images")}
    options |= {"qat_learning_rate": "0.05", "calibration_images": "32", "results": str(tmp_path / "results")}
    with flagsaver.as_parsed(**options):
        quantize_aware.main([])
    assert epochs == [0, 1, 1]
    result = json.loads((tmp_path / "results" / "tiny_quantized.json").read_text())
    assert result["settings"] == settings
    aware = result["quantization_aware"]
    assert [row["epoch"] for row in aware["history"]] == [0, 1]
    assert aware["history"][1]["loss"] < aware["history"][0]["loss"]
    assert aware["trained"] == pytest.approx(aware["history"][1]["val_accuracy"], abs=1e-5)
    assert aware["at_start"] == pytest.approx(result["float"], abs=0.05)
    (folder,) = (tmp_path / "tiny" / "quantize_aware").iterdir()
    for name, key in (("post_training", "post_training"), ("quantization_aware", "quantization_aware")):
        content = (folder / f"{name}.tflite").read_bytes()
        assert len(content) == result[key]["size_bytes"]
        assert result[key]["test_accuracy"] == pytest.approx(_accuracy(content), abs=1e-9)
    assert f"{100 * aware['test_accuracy']:.2f} %" in capsys.readouterr().out
    assert training.history(folder) == aware["history"]


def _accuracy(content):
    """Runs a file with LiteRT's own signature runner, without any code of the library."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_content=content).get_signature_runner()
    (name,), (output,) = runner.get_input_details(), runner.get_output_details()
    images, labels = _split("test")
    images = data.normalise(images)
    decisions = [runner(**{name: images[index : index + 1]})[output].argmax() for index in range(len(images))]
    return float(np.mean(np.array(decisions) == labels))


def test_a_model_that_is_not_there(parsed_flags, tmp_path):
    from absl import app

    with flagsaver.as_parsed(trained=str(tmp_path / "none.keras")), pytest.raises(app.UsageError, match=r"none\.keras"):
        quantize_aware.main([])
