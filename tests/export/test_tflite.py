import keras
import numpy as np
import pytest
from keras import layers, ops

import lrpet_tf as lrpet
from lrpet_tf import errors
from lrpet_tf.export import job
from tests import models
from tests.oracle import set_batch_norm_statistics

pytestmark = pytest.mark.tensorflow


def _run_directly(path, inputs):
    """Runs a file with LiteRT's own signature runner, without any code of the library."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=str(path), num_threads=1).get_signature_runner()
    results = [
        {k: np.array(v) for k, v in runner(**{k: v[i : i + 1] for k, v in inputs.items()}).items()}
        for i in range(len(next(iter(inputs.values()))))
    ]
    return {key: np.concatenate([result[key] for result in results]) for key in results[0]}


def _operators(path):
    from ai_edge_litert.interpreter import Interpreter

    return {op["op_name"] for op in Interpreter(model_path=str(path))._get_ops_details()}


def _trained(make=models.residual):
    model, data = make()
    set_batch_norm_statistics(model)
    plan = lrpet.make_plan(model, 0.3)
    lrpet.Projector(model, plan).project()
    return model, lrpet.factorize(model, plan), data


def test_the_file_and_the_report(tmp_path):
    model, small, data = _trained()
    path = tmp_path / "net.tflite"
    report = lrpet.export_tflite(small, path, reference=model, samples=data)
    (name,) = [tensor.name for tensor in small.inputs]
    outputs = _run_directly(path, {name: data})
    np.testing.assert_allclose(outputs["head"], small.predict(data, verbose=0), atol=1e-5)
    assert not [op for op in _operators(path) if "FLEX" in op.upper() or op in ("VAR_HANDLE", "READ_VARIABLE")]
    assert report.size_bytes == path.stat().st_size
    assert (report.exported.macs, report.reference.macs) == (lrpet.count_macs(small), lrpet.count_macs(model))
    assert (report.exported.params, report.reference.params) == (lrpet.count_params(small), lrpet.count_params(model))
    assert report.samples == 4
    assert report.relative_difference < 1e-5
    assert report.cosine == pytest.approx(1.0, abs=1e-9)
    assert report.top1_agreement == 1.0
    assert report.latency_ratio == pytest.approx(report.exported.latency_ms / report.reference.latency_ms)
    assert report.size_ratio < 1
    assert [file.name for file in tmp_path.iterdir()] == ["net.tflite"]
    assert report.to_dict()["exported"]["size_bytes"] == report.size_bytes
    for part in ("net.tflite", "ratio", "thread", "top-1 agreement 100.0 %", "4 samples", "against the reference"):
        assert part in str(report)


@pytest.mark.parametrize("make", models.MODELS.values(), ids=models.MODELS)
def test_every_kind_of_model(tmp_path, make):
    model, data = make()
    set_batch_norm_statistics(model)
    small = lrpet.factorize(model, lrpet.make_plan(model, 1.0, keep_if_no_gain=True))
    report = lrpet.export_tflite(small, tmp_path / "net.tflite", samples=data)
    assert len(report.parity) == len(model.outputs)
    assert report.relative_difference < 1e-5
    assert report.reference is None
    assert report.latency_ratio is None


def test_float16_halves_the_file(tmp_path):
    parts = [keras.Input((16, 16, 3)), layers.Conv2D(64, 3), layers.ReLU(), layers.Conv2D(64, 3, name="last")]
    model, data = keras.Sequential(parts), np.random.default_rng(0).standard_normal((4, 16, 16, 3)).astype("float32")
    full = lrpet.export_tflite(model, tmp_path / "full.tflite", samples=data)
    half = lrpet.export_tflite(model, tmp_path / "half.tflite", samples=data, quantize="float16")
    assert half.size_bytes < 0.55 * full.size_bytes
    assert 1e-6 < half.relative_difference < 1e-2


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_is_exported_in_float32(tmp_path, policy):
    keras.config.set_dtype_policy(policy)
    try:
        model, data = models.nested()
    finally:
        keras.config.set_dtype_policy("float32")
    report = lrpet.export_tflite(model, tmp_path / "net.tflite", reference=model, samples=data)
    assert report.relative_difference < 1e-5
    assert model.get_layer("stem").compute_dtype in policy


def test_inputs_and_outputs_keep_their_names(tmp_path):
    model, data = models.dicts()
    lrpet.export_tflite(model, tmp_path / "net.tflite", samples=data)
    outputs = _run_directly(tmp_path / "net.tflite", data)
    expected = model.predict(data, verbose=0)
    assert set(outputs) == {"score", "logits"}
    for name, value in outputs.items():
        np.testing.assert_allclose(value, expected[name], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "written"), [("class", "input_class"), ("_b", "input_b"), ("a-b", "a_b"), ("self", "input_self")]
)
def test_odd_input_names(tmp_path, name, written):
    model = keras.Sequential([keras.Input((6,), name=name), layers.Dense(4, name="out")])
    data = np.random.default_rng(0).standard_normal((3, 6)).astype("float32")
    lrpet.export_tflite(model, tmp_path / "net.tflite", reference=model, samples=data)
    outputs = _run_directly(tmp_path / "net.tflite", {written: data})
    np.testing.assert_allclose(outputs["out"], model.predict(data, verbose=0), atol=1e-5)


def test_half_precision_inside_wrappers(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = keras.Sequential([keras.Input((5, 6)), layers.TimeDistributed(layers.Dense(4)), layers.Dense(3)])
    finally:
        keras.config.set_dtype_policy("float32")
    assert lrpet.export_tflite(model, tmp_path / "net.tflite").relative_difference < 1e-5


def test_inputs_of_different_lengths(tmp_path):
    model, data = models.shared_layers()
    with pytest.raises(errors.ExportError, match=r"same number of samples.*\[4, 3\]"):
        lrpet.export_tflite(model, tmp_path / "net.tflite", samples=[data[0], data[1][:3]])


def test_any_batch_and_any_size(tmp_path):
    model = keras.Sequential([keras.Input((None, None, 3), name="image"), layers.Conv2D(8, 3, padding="same", name="out")])
    data = np.random.default_rng(0).standard_normal((6, 9, 7, 3)).astype("float32")
    report = lrpet.export_tflite(model, tmp_path / "net.tflite", samples=data, batch_size=None)
    assert report.exported.macs is None
    from ai_edge_litert.interpreter import Interpreter

    outputs = Interpreter(model_path=str(tmp_path / "net.tflite")).get_signature_runner()(image=data)["out"]
    np.testing.assert_allclose(outputs, model.predict(data, verbose=0), atol=1e-5)


def test_kinds_of_samples(tmp_path):
    import tensorflow as tf

    model, data = models.residual()
    labels = np.zeros(len(data))
    dataset = tf.data.Dataset.from_tensor_slices((data, labels)).batch(3)
    for samples, count in ((data, 2), ((data, labels), 2), (dataset, 2), (dataset, 4), (None, 16)):
        report = lrpet.export_tflite(model, tmp_path / "net.tflite", samples=samples, max_samples=count)
        assert report.samples == count
        assert report.random_samples == (samples is None)


def test_several_inputs(tmp_path):
    model, data = models.shared_layers()
    for samples in (data, (data, [0, 0]), {"left": data[0], "right": data[1]}):
        assert lrpet.export_tflite(model, tmp_path / "net.tflite", samples=samples).samples == 4


@pytest.mark.parametrize("path", ["net.tflit", "net", "net.keras"])
def test_another_suffix(tmp_path, path):
    model, _ = models.residual()
    with pytest.raises(errors.ExportError, match=f"end in '.tflite'.*{path}"):
        lrpet.export_tflite(model, tmp_path / path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [(4, 12, 12, 1), (4, 10, 12, 3), (4, 12, 12), (12, 12, 3)])
def test_samples_of_the_wrong_shape(tmp_path, shape):
    model, _ = models.residual()
    with pytest.raises(errors.ExportError, match=r"\(count, 12, 12, 3\).*Received: shape"):
        lrpet.export_tflite(model, tmp_path / "net.tflite", samples=np.zeros(shape, "float32"))
    assert not list(tmp_path.iterdir())


def test_samples_for_one_of_two_inputs(tmp_path):
    model, data = models.shared_layers()
    with pytest.raises(errors.ExportError, match="2 inputs.*left, right.*Received: 1 array"):
        lrpet.export_tflite(model, tmp_path / "net.tflite", samples=data[0])


def test_a_mismatch_is_an_error_and_leaves_no_file(tmp_path, monkeypatch):
    model, data = models.residual()
    with pytest.raises(errors.ExportError, match="'head' differs by.*is allowed.*No file was written"):
        lrpet.export_tflite(model, tmp_path / "net.tflite", samples=data, quantize="float16", tolerance=1e-9)
    run = job.run
    monkeypatch.setattr(job, "run", lambda *arguments: [np.full_like(each, np.nan) for each in run(*arguments)])
    with pytest.raises(errors.ExportError, match="differs by nan"):
        lrpet.export_tflite(model, tmp_path / "net.tflite", samples=data)
    assert not list(tmp_path.iterdir())


def test_a_mismatch_leaves_an_existing_file_as_it_was(tmp_path):
    model, data = models.residual()
    (tmp_path / "net.tflite").write_bytes(b"before")
    with pytest.raises(errors.ExportError):
        lrpet.export_tflite(model, tmp_path / "net.tflite", samples=data, quantize="float16", tolerance=0.0)
    assert (tmp_path / "net.tflite").read_bytes() == b"before"


def test_operators_that_litert_lacks_are_named(tmp_path):
    inputs = keras.Input((16,))
    model = keras.Model(inputs, ops.erfinv(ops.tanh(inputs)))
    with pytest.raises(errors.ExportError, match=r"operators that LiteRT does not have: Erfinv from layer .erfinv. \(Erfinv\)"):
        lrpet.export_tflite(model, tmp_path / "net.tflite")
    assert not list(tmp_path.iterdir())


def test_a_reference_with_other_inputs(tmp_path):
    model, data = models.residual()
    other, _ = models.sequential()
    with pytest.raises(errors.ExportError, match="reference model 'sequential' must have the outputs"):
        lrpet.export_tflite(model, tmp_path / "net.tflite", reference=other, samples=data)


def test_models_and_options_that_are_not_supported(tmp_path):
    class Net(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(errors.UnsupportedModelError, match="class Net"):
        lrpet.export_tflite(Net(), tmp_path / "net.tflite")
    model, _ = models.residual()
    with pytest.raises(ValueError, match="`quantize`.*quantize='int3'"):
        lrpet.export_tflite(model, tmp_path / "net.tflite", quantize="int3")


def test_a_folder_that_does_not_exist(tmp_path):
    model, _ = models.residual()
    with pytest.raises(errors.ExportError, match="folder.*missing"):
        lrpet.export_tflite(model, tmp_path / "missing" / "net.tflite")
