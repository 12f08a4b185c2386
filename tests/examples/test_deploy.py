"""The runners of examples/deploy say of an exported file what the Keras model says."""

import ast
import pathlib
import re
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

from lrpet_tf.litert import convert
from tests import deploying

DEPLOY = pathlib.Path(__file__).parents[2] / "examples" / "deploy"
RUN_PY = [sys.executable, str(DEPLOY / "run.py")]
MISSING = [tool for tool in ("cmake", "make", "g++") if shutil.which(tool) is None]
pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return deploying.write(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    if sys.platform != "linux":
        pytest.skip("the wheel of LiteRT holds a library to link against on Linux")
    if MISSING:
        pytest.skip(f"the C++ runner is built with {', '.join(MISSING)}, which this machine does not have")
    build = tmp_path_factory.mktemp("build")
    configure = ["cmake", "-S", DEPLOY, "-B", build, "-G", "Unix Makefiles", f"-DPython3_EXECUTABLE={sys.executable}"]
    for command in (configure, ["cmake", "--build", build]):
        result = subprocess.run([*map(str, command)], capture_output=True, text=True)
        assert result.returncode == 0, result.stdout + result.stderr
    return str(build / "run")


def _run(*command):
    return subprocess.run([*map(str, command)], capture_output=True, text=True, errors="replace")


def _outputs(command, files, name, *arguments):
    path = files.folder / f"{name}_outputs.npy"
    path.unlink(missing_ok=True)
    result = _run(*command, files.path(name), files.folder / "samples.npy", path, *arguments)
    assert result.returncode == 0, result.stderr
    return np.load(path), result.stdout


def _check_text(text, outputs):
    """What is printed: the five best of each of the first samples, and a latency."""
    lines = text.splitlines()
    for index, line in enumerate(lines[:3]):
        number, scores = re.fullmatch(r"sample (\d): (.*)", line).groups()
        assert int(number) == index
        classes, values = zip(*(part.split() for part in scores.split(", ")), strict=True)
        assert [int(each) for each in classes] == list(np.argsort(-outputs[index], kind="stable")[:5])
        np.testing.assert_allclose(np.array(values, float), np.sort(outputs[index])[::-1][:5], atol=1e-4)
    assert re.fullmatch(r"median latency: \d+\.\d{3} ms over 3 runs, 2 threads", lines[3])
    assert len(lines) == 4


@pytest.mark.parametrize("name", deploying.TOLERANCES)
def test_python_agrees_with_keras(files, name):
    outputs, text = _outputs(RUN_PY, files, name, "--threads=2", "--runs=3")
    assert outputs.dtype == np.float32
    assert deploying.far_apart(outputs, files.expected) < deploying.TOLERANCES[name]
    _check_text(text, outputs)


@pytest.mark.parametrize("name", deploying.TOLERANCES)
def test_cpp_agrees_with_keras_and_with_python(program, files, name):
    python, _ = _outputs(RUN_PY, files, name, "--runs=1")
    outputs, text = _outputs([program], files, name, 2, 3)
    assert deploying.far_apart(outputs, files.expected) < deploying.TOLERANCES[name]
    assert deploying.far_apart(outputs, python) <= (0 if name.startswith("int8") else 1e-6)
    _check_text(text, outputs)


def test_integers_are_taken_as_they_are(program, files):
    """The scale of the input is the file's, so integers and the floats that they stand for give the same outputs."""
    from ai_edge_litert.interpreter import Interpreter

    scale, zero_point = Interpreter(model_path=str(files.path("int8_io"))).get_input_details()[0]["quantization"]
    integers = np.random.default_rng(0).integers(-128, 128, files.samples.shape).astype("int8")
    np.save(files.folder / "integers.npy", integers)
    np.save(files.folder / "floats.npy", ((integers.astype("float64") - zero_point) * scale).astype("float32"))
    for command in (RUN_PY, [program]):
        results = []
        for kind in ("integers", "floats"):
            path = files.folder / f"from_{kind}.npy"
            result = _run(*command, files.path("int8_io"), files.folder / f"{kind}.npy", path)
            assert result.returncode == 0, result.stderr
            results.append(np.load(path))
        np.testing.assert_array_equal(*results)
        assert np.ptp(results[0]) > 0.1


def test_several_outputs_go_to_several_files(program, tmp_path):
    inputs = keras.Input((6,))
    model = keras.Model(inputs, [layers.Dense(3, name="a")(inputs), layers.Dense(4, name="b")(inputs)])
    converted = convert(model)
    samples = np.random.default_rng(0).standard_normal((5, 6)).astype("float32")
    (tmp_path / "two.tflite").write_bytes(converted.content)
    np.save(tmp_path / "samples.npy", samples)
    expected = {each.shape[1]: each for each in model.predict(samples, verbose=0)}
    for folder, command in (("python", RUN_PY), ("cpp", [program])):
        (tmp_path / folder).mkdir()
        result = _run(*command, tmp_path / "two.tflite", tmp_path / "samples.npy", tmp_path / folder / "out.npy")
        assert result.returncode == 0, result.stderr
        outputs = [np.load(tmp_path / folder / name) for name in ("out.npy", "out.1.npy")]
        assert {each.shape for each in outputs} == {(5, 3), (5, 4)}
        for each in outputs:
            np.testing.assert_allclose(each, expected[each.shape[1]], atol=1e-5)


def test_labels_are_shown(files, tmp_path):
    (tmp_path / "labels.txt").write_text("\n".join(f"kind{index}" for index in range(10)))
    outputs, text = _outputs(RUN_PY, files, "float32", f"--labels={tmp_path / 'labels.txt'}", "--runs=1")
    assert text.startswith(f"sample 0: kind{np.argmax(outputs[0])} ")


def _two_inputs(path):
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    path.write_bytes(convert(keras.Model([a, b], layers.Add()([a, b]))).content)


def test_bad_input_is_told_and_nothing_is_written(program, files, tmp_path):
    content = files.path("int8").read_bytes()
    _two_inputs(tmp_path / "two.tflite")
    (tmp_path / "other.tflite").write_bytes(b"something else, and long enough for a header")
    np.save(tmp_path / "wide.npy", np.zeros((2, 16, 17, 3), "float32"))
    np.save(tmp_path / "none.npy", files.samples[:0])
    good, samples = files.path("int8"), files.folder / "samples.npy"
    cases = [
        (tmp_path / "missing.tflite", samples, "missing.tflite"),
        (tmp_path / "other.tflite", samples, "other.tflite|not a valid Flatbuffer"),
        (tmp_path / "two.tflite", samples, "takes 2 inputs"),
        (good, tmp_path / "missing.npy", "missing.npy"),
        (good, tmp_path / "wide.npy", "[Ee]xpected samples of"),
        (good, tmp_path / "none.npy", "holds no samples|expected samples of 768 values"),
    ]
    for share in (0.2, 0.6, 0.9):
        (tmp_path / f"cut_{share}.tflite").write_bytes(content[: int(share * len(content))])
        cases.append((tmp_path / f"cut_{share}.tflite", samples, "cut_0|not a valid Flatbuffer"))
    for command in (RUN_PY, [program]):
        for model, array, message in cases:
            result = _run(*command, model, array, tmp_path / "out.npy")
            assert result.returncode == 1, (command, model, array, result.stderr)
            assert re.search(message, result.stderr.splitlines()[-1]), result.stderr
            assert not (tmp_path / "out.npy").exists()
    assert _run(program).returncode == 2
    assert "out.npy" in _run(program, good, samples, tmp_path / "no" / "out.npy").stderr


def test_the_python_runner_needs_litert_and_numpy_alone():
    tree = ast.parse((DEPLOY / "run.py").read_text())
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.split(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"ai_edge_litert", "numpy"}
    code = "import sys, runpy; runpy.run_path(sys.argv[1]); print({'tensorflow', 'keras', 'jax'} & set(sys.modules))"
    result = _run(sys.executable, "-c", code, DEPLOY / "run.py")
    assert result.stdout.strip() == "set()", result.stderr
