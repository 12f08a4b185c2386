"""The example on the search runs, and goes on after an interruption."""

import pathlib
import subprocess
import sys

import pytest

import lrpet_tf as lrpet

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.tensorflow
def test_it_runs_and_goes_on(tmp_path):
    pytest.importorskip("optuna")
    pytest.importorskip("sklearn")

    def run(trials):
        command = [sys.executable, str(ROOT / "examples" / "search.py"), "--epochs=1", "--tuning_epochs=1", "--budget=0.5"]
        command += [f"--trials={trials}", f"--output={tmp_path}"]
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout

    assert "2/2" in run(2)
    output = run(4)
    assert "4/4" in output
    assert "ranks found" in output and "uniform share" in output
    plan = lrpet.Plan.load(tmp_path / "plan.json")
    assert plan.layers and plan.low_rank_macs <= 0.5 * plan.macs
    assert (tmp_path / "pareto.png").stat().st_size > 10_000
