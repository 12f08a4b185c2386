import keras
import numpy as np
import pytest

from lrpet_tf import errors, interop
from lrpet_tf.interop import exporting
from tests.interop import nets

pytestmark = pytest.mark.tensorflow


def _interpreter(path):
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_path=str(path), num_threads=1)


def _run_directly(path, data, name):
    """Runs a file with LiteRT's own signature runner, without any code of the library."""
    runner = _interpreter(path).get_signature_runner()
    return np.concatenate([np.array(runner(**{name: data[index : index + 1]})["head"]) for index in range(len(data))])


@pytest.fixture(scope="module")
def aware():
    keras.utils.set_random_seed(0)
    (images, _), _ = nets.digits()
    model = nets.factorized()
    return interop.quantize_aware(model, representative_data=images[:256]), images[:40]


def test_the_file_agrees_and_is_int8_by_channel(aware, tmp_path):
    model, data = aware
    path = tmp_path / "net.tflite"
    report = interop.export_quantized(model, path, samples=data)
    (name,) = model.input_names
    received = _run_directly(path, data, name)
    expected = model.predict(data, verbose=0)
    assert np.max(np.abs(received - expected)) <= 0.03 * np.max(np.abs(expected))
    assert np.mean(received.argmax(-1) == expected.argmax(-1)) >= 0.95
    assert report.parity[0].max_difference == pytest.approx(np.max(np.abs(received - expected)), abs=1e-6)
    assert report.size_bytes == path.stat().st_size
    assert report.samples == 40
    assert [file.name for file in tmp_path.iterdir()] == ["net.tflite"]

    details = _interpreter(path).get_tensor_details()
    kernels = {tuple(each["shape"]): each for each in details if each["dtype"] is np.int8 and each["shape"][0] > 1}
    shapes = {each.name: each.shape for each in report.kernels}
    rank = shapes["conv1_factor0"][0]
    by_shape = {(8, 3, 3, 1): 8, (rank, 3, 3, 8): rank, (32, 1, 1, rank): 32, (10, 32): 1}
    assert {shape: len(each["quantization_parameters"]["scales"]) for shape, each in kernels.items()} == by_shape
    assert {each.shape: each.scales for each in report.kernels} == by_shape
    assert set(shapes) == {"conv0", "conv1_factor0", "conv1", "head"}
    floats = [op["op_name"] for op in _interpreter(path)._get_ops_details() if op["op_name"] in ("QUANTIZE", "DEQUANTIZE")]
    assert floats == ["QUANTIZE", "DEQUANTIZE"]  # at the ends alone
    for part in ("net.tflite (int8", "conv1_factor0", "40 samples", "top-1 agreement"):
        assert part in str(report)
    assert report.to_dict()["kernels"][0]["scales"] == report.kernels[0].scales


def test_integers_at_the_ends(aware, tmp_path):
    model, data = aware
    report = interop.export_quantized(model, tmp_path / "net.tflite", samples=data, integer_io=True)
    interpreter = _interpreter(tmp_path / "net.tflite")
    ends = [*interpreter.get_input_details(), *interpreter.get_output_details()]
    assert [each["dtype"] for each in ends] == [np.int8, np.int8]
    assert report.parity[0].relative_difference < 0.03


def test_float_islands_and_integer_kernels(tmp_path):
    model, data = nets.squeeze_excite()
    aware = interop.quantize_aware(model, representative_data=data, exclude=list(nets.UNSUPPORTED))
    report = interop.export_quantized(aware, tmp_path / "net.tflite", samples=data)
    assert {each.name for each in report.kernels} == {"conv", "gate", "separable_depthwise", "separable", "head"}
    assert report.parity[0].cosine > 0.999
    operators = [op["op_name"] for op in _interpreter(tmp_path / "net.tflite")._get_ops_details()]
    assert operators.count("DEQUANTIZE") > 1  # the layers in float stand between these
    assert "RSQRT" in operators


def test_a_mismatch_is_an_error_and_leaves_what_was_there(aware, tmp_path, monkeypatch):
    model, data = aware
    run = exporting.run_quantized
    converted = exporting.convert_quantized(model)
    monkeypatch.setattr(exporting, "convert_quantized", lambda *given, **options: converted)
    monkeypatch.setattr(exporting, "run_quantized", lambda *given: [each + 3 for each in run(*given)])
    (tmp_path / "net.tflite").write_bytes(b"before")
    with pytest.raises(errors.ExportError, match="'head' differs by.*is allowed.*No file was written"):
        interop.export_quantized(model, tmp_path / "net.tflite", samples=data)
    assert (tmp_path / "net.tflite").read_bytes() == b"before"
    monkeypatch.setattr(exporting, "run_quantized", lambda *given: [np.full_like(each, np.nan) for each in run(*given)])
    with pytest.raises(errors.ExportError, match="differs by nan"):
        interop.export_quantized(model, tmp_path / "net.tflite", samples=data)
    assert [file.name for file in tmp_path.iterdir()] == ["net.tflite"]


def test_wrong_paths_and_samples(aware, tmp_path):
    model, data = aware
    with pytest.raises(errors.ExportError, match=r"end in '\.tflite'"):
        interop.export_quantized(model, tmp_path / "net.keras", samples=data)
    with pytest.raises(errors.ExportError, match="folder"):
        interop.export_quantized(model, tmp_path / "missing" / "net.tflite", samples=data)
    with pytest.raises(errors.LowRankError, match=r"\(count, 8, 8, 1\).*Received: shape \(40, 8, 8\)"):
        interop.export_quantized(model, tmp_path / "net.tflite", samples=data[..., 0])
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full_leaves_nothing(aware, tmp_path, monkeypatch):
    model, data = aware

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        interop.export_quantized(model, tmp_path / "net.tflite", samples=data[:2])
    assert not list(tmp_path.iterdir())
