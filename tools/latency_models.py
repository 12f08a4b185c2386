"""Measures a latency table on another device, such as a phone, with LiteRT's `benchmark_model`.

    python tools/latency_models.py write model.keras folder --quantize=int8   # here: writes small models and benchmark.sh
    BENCHMARK=./benchmark_model sh benchmark.sh                               # on the device, in the folder
    python tools/latency_models.py read folder phone.json --device="Pixel 8"  # here: reads the results

The table then drives a plan: `make_plan(model, LatencyBudget(0.7, table="phone.json"))`.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import json
import pathlib
import re
import statistics

import keras
from absl import app, flags
from tqdm.auto import tqdm

import lrpet_tf as lrpet
from lrpet_tf import decompositions
from lrpet_tf.costs import micro_models, model_key
from lrpet_tf.files import write_atomically
from lrpet_tf.graph import in_float32, read_graph
from lrpet_tf.litert import convert

SCRIPT = """#!/bin/sh
# Runs every model of this folder in turns, several times over; each run adds its figures to a .txt file beside the model.
: "${{BENCHMARK:=./benchmark_model}}" "${{ROUNDS:=3}}"
cd "$(dirname "$0")" || exit 1
round=0
while [ "$round" -lt "$ROUNDS" ]; do
  for model in *.tflite; do
    "$BENCHMARK" --graph="$model" --num_threads={threads} --use_xnnpack=true >> "${{model%.tflite}}.txt" 2>&1 || exit 1
  done
  round=$((round + 1))
done
"""


def write(model: keras.Model, folder: pathlib.Path, *, quantize: str | None, threads: int) -> int:
    """Writes the whole model, each of its distinct layers, dense and at the ranks that matter, and a script that times them.

    Args:
        model: A built Functional or Sequential model of fixed input size.
        folder: Where the files go; it is made.
        quantize: `None` or `"int8"`.
        threads: Threads that the script measures with.

    Returns:
        The number of models written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    graph = read_graph(model)
    builders = {model_key(graph): lambda: in_float32(model)}
    builders |= {micro.key: micro.build for micro in micro_models(graph, decompositions.choices("auto"))}
    names = {key.replace("/", "__"): key for key in builders}
    for name, key in tqdm(names.items(), unit="model"):
        write_atomically(folder / f"{name}.tflite", convert(builders[key](), quantize=quantize).content)
    write_atomically(folder / "benchmark.sh", SCRIPT.format(threads=threads).encode())
    manifest = {"quantize": quantize, "threads": threads, "models": names}
    write_atomically(folder / "manifest.json", json.dumps(manifest, indent=1).encode())
    return len(names)


def milliseconds(output: str) -> float | None:
    """Returns the latency that `benchmark_model` printed, the median over its runs, or `None` where it printed none.

    Recent versions print the median of each run; older ones only the average.
    """
    number = r"([\d.]+(?:e[+-]?\d+)?)"
    found = []
    for before, average in re.findall(rf"(.*?)Inference \(avg\): {number}", output, re.DOTALL):
        medians = re.findall(rf"\bmedian={number}", before)  # of the warm-up, if there is one, and then of the runs
        found.append(float(medians[-1] if medians else average))
    return statistics.median(found) / 1000 if found else None


def read(folder: pathlib.Path, device: str) -> lrpet.LatencyTable:
    """Returns the table of the results in a folder.

    Args:
        folder: What `write` wrote, with the results that `benchmark.sh` added.
        device: The device, in words.

    Returns:
        The table.

    Raises:
        LowRankError: A result is missing or is not one of `benchmark_model`.
    """
    manifest = json.loads((folder / "manifest.json").read_text())
    found, missing = {}, []
    for name, key in manifest["models"].items():
        file = folder / f"{name}.txt"
        value = milliseconds(file.read_text(errors="replace")) if file.exists() else None
        if value is None:
            missing.append(file.name)
        else:
            found[key] = value
    if missing:
        raise lrpet.LowRankError(
            "Expected a line 'Inference timings in us: … Inference (avg): …' of benchmark_model in each result. It is missing "
            f"in {len(missing)} of {len(manifest['models'])}, the first of them '{missing[0]}'. Run benchmark.sh to its end on "
            f"the device, and copy the .txt files to the folder. Received: folder='{folder}'"
        )
    return lrpet.LatencyTable(device, manifest["quantize"], manifest["threads"], found)


def main(argv):
    """Writes the models or reads the results."""
    match argv[1:]:
        case ["write", model, folder]:
            count = write(
                keras.models.load_model(model), pathlib.Path(folder), quantize=_QUANTIZE.value, threads=_THREADS.value
            )
            print(f"{count} models and benchmark.sh in {folder}. On the device: BENCHMARK=./benchmark_model sh benchmark.sh")
        case ["read", folder, table]:
            measured = read(pathlib.Path(folder), _DEVICE.value)
            measured.save(table)
            print(measured)
        case _:
            raise app.UsageError("Expected: write MODEL.keras FOLDER, or read FOLDER TABLE.json")


if __name__ == "__main__":
    _QUANTIZE = flags.DEFINE_enum("quantize", None, ["int8"], "Integers instead of float32.")
    _THREADS = flags.DEFINE_integer("threads", 1, "Threads that the device measures with.", lower_bound=1)
    _DEVICE = flags.DEFINE_string("device", "a device", "The device, in words.")
    app.run(main)
