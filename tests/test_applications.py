"""Real architectures: at full rank nothing changes, and the exported file agrees."""

import importlib.util
import pathlib

import pytest

SCRIPT = pathlib.Path(__file__).parents[1] / "tools" / "applications.py"
_spec = importlib.util.spec_from_file_location("applications", SCRIPT)
applications = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(applications)

# Layers found and rewritten: the stem, every convolution of every block, and the classifier.
EXPECTED = {
    "ResNet50": (54, 54),
    "MobileNetV2": (53, 36),
    "DenseNet121": (121, 121),
    "EfficientNetB0": (82, 66),
    "InceptionV3": (95, 95),
    "VGG16": (16, 16),
}


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize("name", EXPECTED)
def test_full_rank_reproduces_the_outputs_and_the_file_agrees(tmp_path, name):
    row = applications.measure(name, applications.SIZES[name], tmp_path)
    assert (row.layers, row.rewritten) == EXPECTED[name]
    assert row.difference < 1e-5
    assert row.tflite_difference < 1e-4
    assert row.half_macs < row.macs


def test_the_committed_page_has_every_model():
    page = (SCRIPT.parents[1] / "docs" / "applications.md").read_text()
    assert all(f"| {name} |" in page for name in applications.SIZES)
