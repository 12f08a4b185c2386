"""Compares predicted with measured latency, and plans by latency with uniform shares; writes the table of `docs/latency.md`.

    python tools/latency.py                          # all models, float32 and int8, about a quarter of an hour on 2 cores
    python tools/latency.py --models=resnet20 --quantize=float32

For each model, layers are timed as `LatencyBudget` does; then the dense model and the factorized ones run in turns, whole.
Leave the machine alone meanwhile.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import dataclasses
import json
import pathlib
import sys
import warnings

import keras
from absl import app, flags

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import lrpet_tf as lrpet
from examples.cifar10 import models
from lrpet_tf.costs import device_name
from lrpet_tf.litert import convert, interleaved_latency
from lrpet_tf.planning import Planner

MODELS = {
    "ResNet-20": lambda: models.resnet(20),
    "ResNet-56": lambda: models.resnet(56),
    "VGG-16-BN": models.vgg16_bn,
    "ResNet50": lambda: keras.applications.ResNet50(weights=None),
}
BUDGET = 0.7
MARK = "<!-- the table: python tools/latency.py -->"


@dataclasses.dataclass(frozen=True)
class Row:
    """One plan of one model.

    Attributes:
        model: Name of the model.
        quantize: `None` for float32, or `"int8"`.
        plan: What was asked for.
        layers: Number of factorized layers.
        macs: Multiply-accumulates as a share of the dense model's.
        energy: Energy kept: the mean over all layers that can be factorized, dense ones counting as 1.
        predicted: Predicted latency as a share of the dense model's.
        measured: Measured latency as a share of the dense model's, both in one run.
        milliseconds: Measured median latency.
    """

    model: str
    quantize: str | None
    plan: str
    layers: int
    macs: float
    energy: float
    predicted: float
    measured: float
    milliseconds: float


def energy_kept(planner: Planner, plan: lrpet.Plan) -> float:
    """Returns the energy that the ranks keep: the mean over all layers that can be factorized, dense ones counting as 1."""
    lost = sum(1 - layer.energy_kept for layer in plan.layers)
    return 1 - lost / len(planner.problem.candidates)


def uniform_of(planner: Planner, macs: float) -> lrpet.Plan:
    """Returns the uniform-share plan of the most multiply-accumulates that are not above `macs`."""
    plans = [planner.plan(lrpet.Share(share / 100)) for share in range(1, 101)]
    return max((plan for plan in plans if plan.low_rank_macs <= macs), key=lambda plan: plan.low_rank_macs)


def plans_of(planner: Planner, table: lrpet.LatencyTable) -> dict[str, lrpet.Plan]:
    """Returns the plans to compare, by what was asked for."""
    half = planner.plan(lrpet.Share(0.5))
    shares = [share / 100 for share in range(10, 101, 2)]
    reached = [planner.attempt(lrpet.LatencyBudget(share, table=table)) for share in shares]
    by_share = {share: plan for share, plan in zip(shares, reached, strict=True) if isinstance(plan, lrpet.Plan)}
    share = BUDGET if BUDGET in by_share else min(by_share)
    wanted = energy_kept(planner, half)
    return {
        f"`LatencyBudget({share:g})`": by_share[share],
        "uniform share of the same MACs": uniform_of(planner, by_share[share].low_rank_macs),
        "uniform share 0.5": half,
        "fastest that keeps no less energy": next(plan for plan in by_share.values() if energy_kept(planner, plan) >= wanted),
    }


def measure(name: str, model: keras.Model, quantize: str | None, seconds: float) -> list[Row]:
    """Measures the plans of a model.

    Args:
        name: Name of the model.
        model: The model.
        quantize: `None` or `"int8"`.
        seconds: About how long to run the whole models.

    Returns:
        A row for the dense model and for each plan.
    """
    planner = Planner(model)
    planner.read_spectra()
    plans = plans_of(planner, lrpet.measure_latency(model, quantize=quantize, cache=None))
    # The uniform shares have ranks of their own: all is measured once more, in one run.
    table = lrpet.measure_latency(model, quantize=quantize, cache=None, plans=plans.values())
    files = {"dense": convert(model, quantize=quantize)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the weights are not trained for these ranks, and need not be
        files |= {title: convert(lrpet.factorize(model, plan), quantize=quantize) for title, plan in plans.items()}
    measured = interleaved_latency(files, seconds=seconds, least_rounds=30)
    dense = lrpet.Plan((), ())
    rows = []
    for title, plan in {"dense": dense, **plans}.items():
        rows.append(
            Row(
                model=name,
                quantize=quantize,
                plan=title,
                layers=len(plan),
                macs=round(plan.low_rank_macs / plan.macs, 4) if plan else 1.0,
                energy=round(energy_kept(planner, plan), 4),
                predicted=round(table.predict(model, plan) / table.predict(model), 4),
                measured=round(measured[title] / measured["dense"], 4),
                milliseconds=round(measured[title], 4),
            )
        )
    return rows


def markdown(rows: list[Row]) -> str:
    """Returns the rows as a table."""
    lines = [
        "| model | | plan | layers | MACs | energy kept | predicted | measured | median |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        lines.append(
            f"| {row.model} | {row.quantize or 'float32'} | {row.plan} | {row.layers} | {row.macs:.2f} | {row.energy:.3f} | "
            f"{row.predicted:.2f} | {row.measured:.2f} | {row.milliseconds:.3f} ms |"
        )
    return "\n".join(lines) + "\n"


def main(argv):
    """Measures the models, and writes the results and the table."""
    del argv
    results = pathlib.Path(_RESULTS.value)
    rows = []
    for name in _MODELS.value or list(MODELS):
        keras.utils.set_random_seed(0)
        model = MODELS[name]()
        if name == "ResNet-20" and _WEIGHTS.value:
            model.set_weights(keras.models.load_model(_WEIGHTS.value).get_weights())
        for quantize in _QUANTIZE.value:
            rows += measure(name, model, None if quantize == "float32" else quantize, _SECONDS.value)
            print(markdown(rows))
        keras.utils.clear_session()
    content = {"device": device_name(), "rows": [dataclasses.asdict(row) for row in rows]}
    results.write_text(json.dumps(content, indent=1) + "\n")
    page = pathlib.Path(_PAGE.value)
    before, _ = page.read_text().split(MARK)
    page.write_text(before + MARK + f"\nMeasured on {content['device']}.\n\n" + markdown(rows))


if __name__ == "__main__":
    _MODELS = flags.DEFINE_list("models", [], "Names of the models; all by default.")
    _QUANTIZE = flags.DEFINE_list("quantize", ["float32", "int8"], "What to measure.")
    _SECONDS = flags.DEFINE_float("seconds", 15, "Seconds to run the whole models of one table.")
    _WEIGHTS = flags.DEFINE_string("weights", None, "A trained ResNet-20, for its energies; random weights otherwise.")
    _RESULTS = flags.DEFINE_string("results", "docs/latency.json", "The JSON file to write.")
    _PAGE = flags.DEFINE_string("page", "docs/latency.md", "The page whose table is replaced.")
    app.run(main)
