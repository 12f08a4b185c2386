"""Each way to quantize, against LiteRT's own interpreter and NumPy."""

import sys

import keras
import numpy as np
import pytest
from keras import layers

import lrpet_tf as lrpet
from lrpet_tf import errors
from lrpet_tf.export import MODES
from tests import models
from tests.export import nets

pytestmark = pytest.mark.tensorflow

INTEGERS = [name for name, mode in MODES.items() if mode.scheme is not None]
ENDS = {"dynamic": "float32", "int8": "float32", "int8_io": "int8", "int16x8": "float32"}
# Least ratio of signal to noise that this net has in each mode, with a margin of several dB.
LEAST_DB = {"dynamic": 32, "int8": 25, "int8_io": 25, "int16x8": 32}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Files of one net in every mode, by name: path and report; and the net and its inputs."""
    keras.utils.set_random_seed(0)
    model, data, folder = nets.conv_net(), nets.images(), tmp_path_factory.mktemp("files")
    files = {}
    for name in MODES:
        path = folder / f"{name}.tflite"
        files[name] = path, lrpet.export_tflite(model, path, quantize=name, representative_data=data)
    return model, data, files


@pytest.mark.parametrize("mode", INTEGERS)
def test_the_report_tells_what_litert_itself_puts_out(exported, mode):
    model, data, files = exported
    path, report = files[mode]
    expected, given = model.predict(data, verbose=0).astype(float), nets.run_directly(path, {"image": data})["logits"]
    assert report.max_difference == pytest.approx(np.max(np.abs(expected - given)), rel=1e-4)
    assert report.sqnr_db == pytest.approx(10 * np.log10(np.sum(expected**2) / np.sum((expected - given) ** 2)), abs=0.01)
    assert report.top1_agreement == np.mean(expected.argmax(1) == given.argmax(1))
    assert report.sqnr_db > LEAST_DB[mode]
    assert report.size_bytes == path.stat().st_size
    assert report.samples == len(data)
    assert report.calibration_samples == (0 if mode == "dynamic" else len(data))


@pytest.mark.parametrize("mode", INTEGERS)
def test_weights_are_integers_with_a_scale_for_each_channel(exported, mode):
    _, _, files = exported
    kernels = {detail["name"]: detail for detail in nets.tensors(files[mode][0]) if tuple(detail["shape"]) == (16, 3, 3, 16)}
    (kernel,) = kernels.values()
    assert np.dtype(kernel["dtype"]) == "int8"
    assert kernel["quantization_parameters"]["scales"].shape == (16,)


@pytest.mark.parametrize("mode", INTEGERS)
def test_ends_and_names(exported, mode):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(exported[2][mode][0]))
    assert interpreter.get_signature_list() == {"serving_default": {"inputs": ["image"], "outputs": ["logits"]}}
    runner = interpreter.get_signature_runner()
    kinds = [np.dtype(side["dtype"]) for side in (runner.get_input_details()["image"], runner.get_output_details()["logits"])]
    assert kinds == [ENDS[mode]] * 2


def test_sizes(exported):
    _, _, files = exported
    sizes = {name: report.size_bytes for name, (_, report) in files.items()}
    assert sizes["float16"] < 0.75 * sizes[None]
    assert all(sizes[name] < 0.75 * sizes[None] for name in INTEGERS)
    arenas = {name: report.exported.arena_bytes for name, (_, report) in files.items()}
    assert arenas["int8_io"] < 0.3 * arenas[None]


def test_16_bits_are_closer_than_8(exported):
    _, _, files = exported
    assert files["int16x8"][1].sqnr_db > files["int8"][1].sqnr_db + 3


@pytest.mark.parametrize("mode", ["int8", "int8_io", "int16x8"])
def test_no_floating_values_between_the_operators(exported, mode):
    path, report = exported[2][mode]
    assert report.audit.float_islands == report.audit.conversions == report.audit.not_builtin == ()
    found = nets.operators(path)
    assert found.count("QUANTIZE") == found.count("DEQUANTIZE") == (0 if mode == "int8_io" else 1)


def _float_kernels(path):
    return [
        tuple(each["shape"]) for each in nets.tensors(path) if np.dtype(each["dtype"]) == "float32" and len(each["shape"]) == 4
    ]


@pytest.mark.parametrize(("mode", "pattern"), [("dynamic", "body"), ("int8", ["bo.y"]), ("int16x8", "stem_bn")])
def test_layers_that_stay_in_floating_values(tmp_path, mode, pattern):
    """A batch norm is one operator with its convolution: both stay."""
    model, data, path = nets.conv_net(), nets.images(), tmp_path / "net.tflite"
    report = lrpet.export_tflite(model, path, quantize=mode, representative_data=data, exclude=pattern)
    stays = (16, 3, 3, 3) if pattern == "stem_bn" else (16, 3, 3, 16)
    assert stays in _float_kernels(path)
    assert report.excluded == (("stem_bn",) if pattern == "stem_bn" else ("body",))
    if mode != "dynamic":
        (island,) = report.audit.float_islands
        assert (island.operators, island.excluded) == (("CONV_2D",), True)
        assert report.excluded[0] in island.layers
        assert "(excluded)" in str(report)


def test_exclusion_by_the_path_of_a_nested_model(tmp_path):
    model, data = models.nested()
    options = {"quantize": "int8", "representative_data": data, "min_sqnr_db": 0}
    report = lrpet.export_tflite(model, tmp_path / "net.tflite", exclude=r"block/conv\d", **options)
    assert set(report.excluded) == {"block/conv1", "block/conv2"}
    whole = lrpet.export_tflite(model, tmp_path / "whole.tflite", exclude="block", **options)
    assert set(whole.excluded) > set(report.excluded)
    assert all(path.startswith("block/") for path in whole.excluded)


def test_exclusion_in_a_subclassed_model(tmp_path):
    class Net(keras.Model):
        def __init__(self):
            super().__init__(name="own")
            self.first, self.second = layers.Dense(64, activation="relu", name="first"), layers.Dense(64, name="second")

        def call(self, inputs):
            return self.second(self.first(inputs))

    model, data = Net(), np.random.default_rng(0).standard_normal((8, 32)).astype("float32")
    model(data)
    report = lrpet.export_tflite(model, tmp_path / "net.tflite", quantize="int8", representative_data=data, exclude="first")
    assert report.excluded == ("first",)
    (island,) = report.audit.float_islands
    assert island.layers == ("first",)


@pytest.mark.parametrize(
    ("pattern", "why"), [("bdy", "matches no layer"), ("(", "not a regular expression"), ("bod", "matches no layer")]
)
def test_patterns_that_select_nothing(tmp_path, pattern, why):
    options = {"quantize": "int8", "representative_data": nets.images()}
    with pytest.raises(errors.PatternError, match=why):
        lrpet.export_tflite(nets.conv_net(), tmp_path / "net.tflite", exclude=[pattern], **options)
    assert not list(tmp_path.iterdir())


def test_exclude_takes_a_mode_of_integers(tmp_path):
    with pytest.raises(errors.ExportError, match="`exclude` takes one of quantize='dynamic', 'int8'.*quantize='float16'"):
        lrpet.export_tflite(nets.conv_net(), tmp_path / "net.tflite", quantize="float16", exclude="stem")


@pytest.mark.parametrize("mode", ["dynamic", "int8_io"])
def test_any_batch(tmp_path, mode):
    model, data, path = nets.conv_net(), nets.images(), tmp_path / "net.tflite"
    lrpet.export_tflite(model, path, quantize=mode, representative_data=data, batch_size=None)
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    takes, gives = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    assert takes["shape_signature"][0] == -1
    interpreter.resize_tensor_input(takes["index"], (5, 12, 12, 3))
    interpreter.allocate_tensors()
    scale, zero = takes["quantization"]
    batch = data[:5] if not scale else np.clip(np.round(data[:5] / scale) + zero, -128, 127).astype(takes["dtype"])
    interpreter.set_tensor(takes["index"], batch)
    interpreter.invoke()
    found = interpreter.get_tensor(gives["index"])
    found = (
        found if not gives["quantization"][0] else (found.astype(float) - gives["quantization"][1]) * gives["quantization"][0]
    )
    np.testing.assert_allclose(found, nets.run_directly(path, {"image": data[:5]})["logits"], atol=1e-3)


def test_a_transformer_in_integers_alone(tmp_path):
    tokens = np.random.default_rng(0).integers(0, 30, (24, 8)).astype("int32")
    report = lrpet.export_tflite(nets.transformer(), tmp_path / "net.tflite", quantize="int8_io", representative_data=tokens)
    assert report.audit.float_islands == ()
    assert "NEG" not in nets.operators(tmp_path / "net.tflite")
    assert report.sqnr_db > 20


def test_loops_stay_loops(tmp_path):
    data = np.random.default_rng(0).standard_normal((24, 6, 5)).astype("float32")
    report = lrpet.export_tflite(nets.recurrent(), tmp_path / "net.tflite", quantize="int8", representative_data=data)
    assert report.sqnr_db > 20
    islands = [island for island in report.audit.float_islands if island.layers == ("lstm",)]
    assert any("WHILE" in island.operators for island in islands)


def test_several_inputs_and_outputs(tmp_path):
    model, data = models.dicts()
    report = lrpet.export_tflite(model, tmp_path / "net.tflite", quantize="int8", representative_data=data, min_sqnr_db=0)
    found, expected = nets.run_directly(tmp_path / "net.tflite", data), model.predict(data, verbose=0)
    assert {each.name for each in report.parity} == set(found) == set(expected)
    for each in report.parity:
        assert each.max_difference == pytest.approx(np.max(np.abs(found[each.name] - expected[each.name])), rel=1e-4)


def test_16_bit_sums_of_any_scale(tmp_path):
    """A Rescaling adds a number that is larger than its result, which sums of power-of-two scales cannot hold."""
    parts = [keras.Input((8, 8, 3)), layers.Rescaling(1 / 127.5, -1), layers.Conv2D(8, 3), layers.Flatten(), layers.Dense(3)]
    model, data = keras.Sequential(parts), np.random.default_rng(0).uniform(0, 255, (16, 8, 8, 3)).astype("float32")
    report = lrpet.export_tflite(model, tmp_path / "net.tflite", quantize="int16x8", representative_data=data)
    assert report.sqnr_db > 30


def test_depthwise_convolutions_are_not_scaled_while_the_file_runs(tmp_path):
    parts = [keras.Input((8, 8, 128)), layers.DepthwiseConv2D(3, name="depthwise"), layers.Conv2D(16, 1, name="pointwise")]
    path = tmp_path / "net.tflite"
    lrpet.export_tflite(keras.Sequential(parts), path, quantize="dynamic")
    kinds = {tuple(each["shape"]): np.dtype(each["dtype"]).name for each in nets.tensors(path)}
    assert kinds[(1, 3, 3, 128)] == "float32"
    assert kinds[(16, 1, 1, 128)] == "int8"


def test_without_the_quantizer(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_quantizer.quantizer", None)
    with pytest.raises(errors.MissingExtraError, match=r"lrpet-tf\[quantize\]"):
        lrpet.export_tflite(nets.conv_net(), tmp_path / "net.tflite", quantize="dynamic")
    assert not list(tmp_path.iterdir())


def test_the_reference_is_quantized_in_the_same_way(tmp_path):
    model, data = nets.conv_net(), nets.images()
    plan = lrpet.make_plan(model, 0.25, exclude="logits")
    lrpet.Projector(model, plan).project()
    small = lrpet.factorize(model, plan)
    options = {"quantize": "int8", "representative_data": data}
    report = lrpet.export_tflite(small, tmp_path / "small.tflite", reference=model, exclude="stem_factor0", **options)
    dense = lrpet.export_tflite(model, tmp_path / "dense.tflite", **options)
    assert report.reference.size_bytes == pytest.approx(dense.size_bytes, abs=64)
    assert report.latency_ratio == report.exported.latency_ms / report.reference.latency_ms
    assert [stage.name for stage in report.stages] == [
        "reference Keras model",
        "exported Keras model",
        "float32 file",
        "int8 file",
    ]
    assert report.excluded == ("stem_factor0",)
