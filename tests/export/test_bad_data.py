"""What a user may give wrong: each is an error or a warning that says what to do, before anything is written."""

import contextlib
import os
import subprocess
import tempfile
import warnings

import keras
import numpy as np
import pytest
from keras import layers

import lrpet_tf as lrpet
from lrpet_tf import errors
from lrpet_tf.export.data import read_data
from lrpet_tf.export.quantize import MODES
from tests import models
from tests.export import nets

pytestmark = pytest.mark.tensorflow


def _read(model, samples=None, data=None, labels=None, mode="int8", counts=(100, 200)):
    return read_data(model, MODES[mode], samples, labels, data, *counts)


@pytest.fixture(scope="module")
def net():
    keras.utils.set_random_seed(0)
    return nets.conv_net()


@pytest.mark.parametrize("mode", ["int8", "int8_io", "int16x8"])
def test_no_representative_data(tmp_path, net, mode):
    with pytest.raises(errors.ExportError, match="pass representative_data=.*Received: representative_data=None"):
        lrpet.export_tflite(net, tmp_path / "net.tflite", quantize=mode, samples=nets.images())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [(4, 12, 12, 1), (12, 12, 3), (4, 24, 12, 3), (4, 432)])
def test_representative_data_of_another_shape(net, shape):
    with pytest.raises(errors.ExportError, match=r"`representative_data`: expected samples of shape \(count, 12, 12, 3\)"):
        _read(net, data=np.zeros(shape, "float32"))


def _no_batches():
    yield from ()


@pytest.mark.parametrize(
    "data",
    [np.zeros((0, 12, 12, 3)), [], _no_batches(), [np.zeros((0, 12, 12, 3), "float32")]],
    ids=["array", "list", "generator", "batch"],
)
def test_an_empty_data_set(net, data):
    with pytest.raises(errors.ExportError, match="`representative_data`.*at least one sample.*empty data set"):
        _read(net, data=data)


def test_data_of_no_readable_kind(net):
    with pytest.raises(errors.ExportError, match="`samples`.*Received: int"):
        _read(net, samples=3, data=nets.images())


def test_two_inputs_where_samples_have_one():
    model, data = models.shared_layers()
    with pytest.raises(errors.ExportError, match="`representative_data`.*2 inputs.*left, right.*Received: 1 array"):
        _read(model, data=data[0])
    with pytest.raises(errors.ExportError, match="`samples`.*2 inputs.*left, right.*Received: 1 array"):
        _read(model, samples=data[0], data=data)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(net, value):
    data = nets.images()
    data[3, 2, 1, 0] = value
    with pytest.raises(errors.ExportError, match="`representative_data` holds NaN or infinite"):
        _read(net, data=data)


@pytest.mark.parametrize(
    ("calibration", "samples"), [((0, 255), (0, 1)), ((0, 1), (0, 255)), ((0, 1), (-1, 1)), ((-3, 3), (-100, 100))]
)
def test_representative_data_and_samples_of_different_scales(calibration, samples):
    model, rng = keras.Sequential([keras.Input((6,), name="facts"), layers.Dense(3)]), np.random.default_rng(0)
    with pytest.raises(errors.ExportError, match="input 'facts'.*of another scale than the samples"):
        _read(model, data=rng.uniform(*calibration, (50, 6)), samples=rng.uniform(*samples, (50, 6)))


def test_a_small_difference_of_scale_is_a_warning():
    model, rng = keras.Sequential([keras.Input((6,)), layers.Dense(3)]), np.random.default_rng(0)
    with pytest.warns(UserWarning, match="of another scale"):
        _read(model, data=rng.uniform(0, 1, (50, 6)), samples=rng.uniform(0, 1.15, (50, 6)))


def test_samples_of_one_distribution_are_of_one_scale(net):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for seed in range(5):
            _read(net, data=nets.images(20, seed=seed), samples=nets.images(20, seed=seed + 50))


@pytest.mark.parametrize(("high", "fits"), [(255, True), (1, False)])
def test_a_model_that_divides_by_255(high, fits):
    parts = [keras.Input((8, 8, 3), name="image"), layers.Rescaling(1 / 255, name="scale"), layers.Conv2D(4, 3)]
    model, data = keras.Sequential(parts), np.random.default_rng(0).uniform(0, high, (8, 8, 8, 3)).astype("float32")
    graph = keras.Model(model.inputs, model.outputs)
    for each in (model, graph):
        with (
            contextlib.nullcontext()
            if fits
            else pytest.warns(UserWarning, match="'scale' normalises input 'image'.*another scale")
        ):
            _read(each, data=data)


def test_normalized_data_for_a_model_that_normalizes():
    rng = np.random.default_rng(0)
    layer = layers.Normalization(mean=[100.0] * 3, variance=[2500.0] * 3, name="norm")
    model = keras.Sequential([keras.Input((8, 8, 3)), layer, layers.Conv2D(4, 3)])
    _read(model, data=rng.normal(100, 50, (8, 8, 8, 3)).astype("float32"))
    with pytest.warns(UserWarning, match="'norm' normalises"):
        _read(model, data=rng.uniform(0, 1, (8, 8, 8, 3)).astype("float32"))


@pytest.mark.parametrize("factor", [255, 1 / 255])
def test_data_that_the_first_batch_norm_has_not_seen(factor):
    rng = np.random.default_rng(0)
    parts = [keras.Input((8, 8, 3)), layers.Conv2D(8, 3, use_bias=False), layers.BatchNormalization(name="bn"), layers.ReLU()]
    model, data = keras.Sequential(parts), rng.standard_normal((32, 8, 8, 3)).astype("float32")
    values = np.asarray(model.layers[0](data))
    model.get_layer("bn").moving_mean.assign(values.mean((0, 1, 2)))
    model.get_layer("bn").moving_variance.assign(values.var((0, 1, 2)))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        _read(model, data=data)
    with pytest.warns(UserWarning, match="batch norm 'bn'.*another scale than the model was trained on"):
        _read(model, data=factor * data)


def test_labels(net):
    images = nets.images()
    assert _read(net, samples=(images, np.arange(24) % 4), mode="dynamic").targets.shape == (24,)
    assert _read(net, samples=images, labels=list(range(30)), mode="dynamic").targets.tolist() == list(range(24))
    with pytest.raises(errors.ExportError, match="a label for each of the 24 samples.*Received: 3 labels"):
        _read(net, samples=images, labels=[0, 1, 2], mode="dynamic")


def test_samples_and_calibration_are_of_the_numbers_asked_for(net):
    found = _read(net, data=(nets.images(40), np.arange(40) % 4), counts=(10, 25))
    assert (len(found.samples[0]), len(found.targets), len(found.calibration[0])) == (10, 10, 25)
    np.testing.assert_array_equal(found.samples[0], found.calibration[0][:10])
    with pytest.raises(errors.ExportError, match="must be at least 1. Received: max_samples=0"):
        _read(net, data=nets.images(), counts=(0, 5))


def test_a_generator_is_read_once(net):
    batches = ((nets.images(4, seed=seed), np.zeros(4)) for seed in range(3))
    found = _read(net, data=batches, counts=(6, 12))
    assert (len(found.samples[0]), len(found.calibration[0])) == (6, 12)


def test_a_path_that_is_a_folder(tmp_path, net):
    (tmp_path / "net.tflite").mkdir()
    with pytest.raises(errors.ExportError, match="this is a folder"):
        lrpet.export_tflite(net, tmp_path / "net.tflite")


def test_a_folder_that_cannot_be_written_to(tmp_path, net, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(errors.ExportError, match=r"cannot be written to \(Permission denied\).*net.tflite"):
        lrpet.export_tflite(net, tmp_path / "net.tflite")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser writes to any folder")
def test_a_read_only_folder(tmp_path, net):
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(errors.ExportError, match="cannot be written to"):
            lrpet.export_tflite(net, tmp_path / "net.tflite")
    finally:
        tmp_path.chmod(0o755)


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path, net, monkeypatch):
    (tmp_path / "net.tflite").write_bytes(b"before")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(errors.ExportError, match="could not be written .No space left on device.*as it was"):
        lrpet.export_tflite(net, tmp_path / "net.tflite")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"net.tflite": b"before"}


def test_a_full_disk(tmp_path, net):
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        (tmp_path / "net.tflite").write_bytes(b"before")
        with pytest.raises(errors.ExportError, match=r"No space left on device|cannot be written"):
            lrpet.export_tflite(net, tmp_path / "net.tflite")
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"net.tflite": b"before"}
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
