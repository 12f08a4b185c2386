"""What docs/deploy.md shows is what there is: its Python runs, its commands name files and flags that exist."""

import importlib.util
import pathlib
import re

import numpy as np
import pytest

import lrpet_tf as lrpet
from examples.cifar10.models import resnet
from lrpet_tf.costs import micro_models, model_key
from lrpet_tf.decompositions import choices
from lrpet_tf.graph import read_graph
from lrpet_tf.litert import convert
from tests import deploying

ROOT = pathlib.Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "deploy.md").read_text()
_spec = importlib.util.spec_from_file_location("micro", ROOT / "examples" / "deploy" / "micro.py")
micro = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(micro)
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def _commands():
    """The commands of the page, one a line, without what is said about them."""
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL):
        yield from (line.split("  #")[0].strip() for line in block.splitlines() if line.startswith(("python ", "cmake ")))


@pytest.mark.tensorflow
def test_the_samples_and_the_scales_are_shown_as_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    files = deploying.write(tmp_path, ("float32", "int8_io"))
    (save,) = [code for code in PYTHON if "np.save" in code]
    exec(save, {"samples": files.samples, "small": deploying.factorized_net()})
    np.testing.assert_array_equal(np.load("samples.npy"), files.samples)
    assert deploying.far_apart(np.load("expected.npy"), files.expected) < 1e-6

    (scales,) = [code for code in PYTHON if "scale, zero_point" in code]
    for name, kind in (("int8_io", "int8"), ("float32", "float32")):
        (tmp_path / "net.tflite").write_bytes(files.path(name).read_bytes())
        capsys.readouterr()
        exec(scales, {})
        rows = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert [row[1] for row in rows] == [kind, kind]
        assert all((float(row[2]) > 0) == (kind == "int8") for row in rows)


def test_a_table_of_a_device_drives_a_plan_as_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model = deploying.dense_net()
    graph = read_graph(model)
    layers = {micro.key: 2.0 if micro.key.endswith("/dense") else 1.0 for micro in micro_models(graph, choices("auto"))}
    lrpet.LatencyTable("a phone", "int8", 1, {model_key(graph): 10.0, **layers}).save("phone.json")
    (code,) = [code for code in PYTHON if "LatencyTable" in code]
    names = {"model": model}
    exec(code, names)
    assert len(names["plan"]) == 3
    assert "10.00 ms dense, 7.00 ms with the plan" in capsys.readouterr().out


def test_every_file_and_flag_of_a_command_exists():
    found = set()
    for command in _commands():
        program, script, *_ = command.split()
        if program == "python":
            (path,) = [ROOT / folder / script for folder in ("", "examples/deploy") if (ROOT / folder / script).exists()]
            source = path.read_text()
            for flag in re.findall(r"--([a-z_]+)", command):
                assert f'"--{flag}"' in source or f'("{flag}"' in source, command
            found.add(path.name)
    assert found == {"run.py", "arm64.py", "micro.py", "latency_models.py"}
    assert f"cmake -S {(ROOT / 'examples' / 'deploy').relative_to(ROOT)} -B build" in PAGE


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", PAGE):
        if not target.startswith("http"):
            assert (ROOT / "docs" / target).exists(), target


@pytest.mark.slow
@pytest.mark.tensorflow
def test_operators_are_those_of_a_factorized_net():
    (row,) = [line for line in PAGE.splitlines() if line.startswith("| ResNet-20")]
    model = resnet(20, weight_decay=0)
    plan = lrpet.make_plan(model, 0.5)
    lrpet.Projector(model, plan).project()
    found = micro.operators(convert(lrpet.factorize(model, plan), quantize="int8").content)
    assert found == re.findall(r"`([A-Z_0-9]+)`", row)
