"""A table measured on another device drives a plan here."""

import importlib.util
import json
import os
import pathlib
import stat
import subprocess

import keras
import pytest
from keras import layers

import lrpet_tf as lrpet
from lrpet_tf.costs import calls_by_path
from lrpet_tf.graph import read_graph

SCRIPT = pathlib.Path(__file__).parents[2] / "tools" / "latency_models.py"
_spec = importlib.util.spec_from_file_location("latency_models", SCRIPT)
latency_models = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(latency_models)

# What benchmark_model prints: the statistics of the warm-up, those of the runs, and a summary.
RECENT = """INFO: STARTING!
INFO: count=26 first=30 curr=20 min=19 max=30 avg=21.5 std=2 p5=19 median=21 p95=28
INFO: count=500 first=22 curr=18 min=17 max=90 avg={average} std=4 p5=18 median={median} p95=25
INFO: Inference timings in us: Init: 5685, First inference: 30, Warmup (avg): 21.5, Inference (avg): {average}
"""
OLDER = """count=26 first=30 curr=20 min=19 max=30 avg=21.5 std=2
count=500 first=22 curr=18 min=17 max=90 avg={average} std=4
Inference timings in us: Init: 5685, First inference: 30, Warmup (avg): 21.5, Inference (avg): {average}
"""


def _model():
    parts = [keras.Input((8, 8, 32)), layers.Conv2D(32, 3, name="conv"), layers.Flatten(), layers.Dense(10, name="head")]
    return keras.Sequential(parts, name="small")


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (RECENT.format(average="19.5", median="18"), 0.018),
        (OLDER.format(average="19.5"), 0.0195),
        (OLDER.format(average="1.25e+06"), 1250.0),
        (
            RECENT.format(average=20, median=12) + RECENT.format(average=20, median=18) + RECENT.format(average=20, median=14),
            0.014,
        ),
        ("benchmark_model: not found", None),
        ("", None),
    ],
)
def test_what_benchmark_model_prints(output, expected):
    assert latency_models.milliseconds(output) == (None if expected is None else pytest.approx(expected))


@pytest.mark.tensorflow
def test_from_the_models_to_the_plan(tmp_path):
    model, folder = _model(), tmp_path / "models"
    count = latency_models.write(model, folder, quantize=None, threads=2)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert count == len(manifest["models"]) == len(list(folder.glob("*.tflite")))
    for name in manifest["models"]:
        assert len((folder / f"{name}.tflite").read_bytes()) > 500

    # A device on which rank 16 is fast, and no other one is.
    fake = tmp_path / "benchmark_model"
    fake.write_text(
        '#!/bin/sh\necho "$*" >> ../arguments\ncase "$1" in *channel-16.tflite) t=40;; *model-*) t=300;; *) t=100;; esac\n'
        'echo "Inference timings in us: Init: 1, First inference: 2, Warmup (avg): 3, Inference (avg): $t"\n'
    )
    fake.chmod(fake.stat().st_mode | stat.S_IEXEC)
    environment = {**os.environ, "BENCHMARK": str(fake), "ROUNDS": "2"}
    subprocess.run(["sh", str(folder / "benchmark.sh")], env=environment, check=True)
    arguments = (tmp_path / "arguments").read_text().splitlines()
    assert len(arguments) == 2 * count
    assert all("--num_threads=2" in line for line in arguments)

    table = latency_models.read(folder, "a phone")
    assert (table.device, table.threads, table.quantize) == ("a phone", 2, None)
    (key,) = calls_by_path(read_graph(model))["conv"]
    assert table.layer_ms(key) == 0.1
    assert table.layer_ms(key, "channel", 16) == 0.04
    table.save(tmp_path / "phone.json")
    plan = lrpet.make_plan(model, lrpet.LatencyBudget(0.85, table=tmp_path / "phone.json"))
    assert {path: plan[path].rank for path in plan} == {"conv": 16}

    next(folder.glob("*channel-16.txt")).unlink()
    with pytest.raises(lrpet.LowRankError, match="missing in 1 of.*channel-16.txt"):
        latency_models.read(folder, "a phone")
