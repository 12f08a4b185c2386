"""A file becomes a header for microcontrollers: the same bytes, and the operators that it needs."""

import importlib.util
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests import deploying

SCRIPT = pathlib.Path(__file__).parents[2] / "examples" / "deploy" / "micro.py"
_spec = importlib.util.spec_from_file_location("micro", SCRIPT)
micro = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(micro)

# Stands in for the resolver of LiteRT for Microcontrollers: notes what is added, and how many there may be.
RESOLVER = """
#pragma once
#include <string>
namespace tflite {
template <unsigned count> struct MicroMutableOpResolver {
  std::string added;
  unsigned left = count;
#define ADD(name) void Add##name() { added += #name " "; --left; }
  ADD(Conv2D) ADD(FullyConnected) ADD(Mean) ADD(Quantize) ADD(Dequantize) ADD(Add) ADD(AveragePool2D)
};
}
"""
PROGRAM = """
#include <cstdio>
#include "net_model.h"
int main() {
  auto resolver = MakeNetResolver();
  std::fprintf(stderr, "%s%u %d", resolver.added.c_str(), resolver.left, int(reinterpret_cast<unsigned long>(kNetModel) % 16));
  std::fwrite(kNetModel, 1, sizeof kNetModel, stdout);
}
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return deploying.write(tmp_path_factory.mktemp("files"), ("int8", "int8_io"))


@pytest.mark.tensorflow
@pytest.mark.skipif(shutil.which("g++") is None, reason="the header is compiled with g++, which this machine does not have")
@pytest.mark.parametrize(("name", "ends"), [("int8_io", ""), ("int8", "Dequantize Quantize ")])
def test_the_header_holds_the_file_and_adds_its_operators(files, tmp_path, name, ends):
    resolver = tmp_path / "tensorflow" / "lite" / "micro" / "micro_mutable_op_resolver.h"
    resolver.parent.mkdir(parents=True)
    resolver.write_text(RESOLVER)
    (tmp_path / "main.cpp").write_text(PROGRAM)
    content = files.path(name).read_bytes()
    (tmp_path / "net.tflite").write_bytes(content)
    subprocess.run([sys.executable, SCRIPT, "net.tflite", "net_model.h"], cwd=tmp_path, check=True, capture_output=True)
    subprocess.run(["g++", "-std=c++17", "-I.", "main.cpp", "-o", "main"], cwd=tmp_path, check=True)
    result = subprocess.run(["./main"], cwd=tmp_path, check=True, capture_output=True)
    assert result.stdout == content
    *added, left, misaligned = result.stderr.decode().split()
    assert sorted(added) == sorted(["Conv2D", "FullyConnected", "Mean", *ends.split()])
    assert (left, misaligned) == ("0", "0")


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        ("CONV_2D", "AddConv2D"),
        ("DEPTHWISE_CONV_2D", "AddDepthwiseConv2D"),
        ("MAX_POOL_2D", "AddMaxPool2D"),
        ("HARD_SWISH", "AddHardSwish"),
        ("PADV2", "AddPadV2"),
        ("SPLIT_V", "AddSplitV"),
        ("RELU6", "AddRelu6"),
        ("STRIDED_SLICE", "AddStridedSlice"),
        ("TRANSPOSE_CONV", "AddTransposeConv"),
    ],
)
def test_names_are_those_of_the_resolver(operator, expected):
    assert micro.method(operator) == expected


def test_another_file_is_refused(tmp_path):
    (tmp_path / "net.tflite").write_bytes(b"something else")
    result = subprocess.run([sys.executable, SCRIPT, "net.tflite", "out.h"], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 1
    assert "net.tflite is no .tflite file." in result.stderr
    assert not (tmp_path / "out.h").exists()


@pytest.mark.slow
@pytest.mark.tensorflow
def test_microcontrollers_agree_with_keras(files):
    runtime = pytest.importorskip("tflite_micro", reason="pip install --pre tflite-micro").runtime
    interpreter = runtime.Interpreter.from_bytes(files.path("int8_io").read_bytes())
    scales = {}
    for side, details in (("in", interpreter.get_input_details(0)), ("out", interpreter.get_output_details(0))):
        parameters = details["quantization_parameters"]
        scales[side] = (np.float32(parameters["scales"][0]), np.float32(parameters["zero_points"][0]))
    outputs = []
    for sample in files.samples:
        scale, zero = scales["in"]
        interpreter.set_input(np.clip(np.rint(sample[None] / scale) + zero, -128, 127).astype("int8"), 0)
        interpreter.invoke()
        outputs.append((interpreter.get_output(0).astype("float32") - scales["out"][1]) * scales["out"][0])
    assert deploying.far_apart(np.concatenate(outputs), files.expected) < deploying.TOLERANCES["int8_io"]
    assert re.fullmatch(r"[A-Z_0-9]+", micro.operators(files.path("int8_io").read_bytes())[0])
