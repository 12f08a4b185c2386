"""The example on the search runs from the command line."""

import pathlib
import subprocess
import sys

import pytest

import lrpet_tf as lrpet

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.tensorflow
def test_it_runs_as_a_program(tmp_path):
    command = [sys.executable, str(ROOT / "examples" / "search.py"), "--epochs=1", "--tuning_epochs=1", "--budget=0.5"]
    command += ["--trials=3", f"--output={tmp_path}"]
    output = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert "3/3" in output
    assert "ranks found" in output
    assert "uniform share" in output
    plan = lrpet.Plan.load(tmp_path / "plan.json")
    assert plan.layers
    assert plan.low_rank_macs <= 0.5 * plan.macs
    assert (tmp_path / "pareto.png").stat().st_size > 10_000
