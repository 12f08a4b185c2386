"""The ranks that a network needs, layer by layer, in a few minutes: search, look at the trade-off, train on.

The data are scikit-learn's handwritten digits, so nothing is downloaded. Trials are scored on a quarter of the training data,
which the dense network has not seen either; the test data are looked at once, at the end. Run it with:

    python examples/search.py --budget=0.4

Interrupted, it goes on where it was: the trained network and the trials are kept in the output folder.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))  # so that it also runs from a clone that is not installed

import keras
from absl import app, flags, logging

import lrpet_tf as lrpet
from examples.digits import accuracy, build_model, load_digits, train
from lrpet_tf.report import megas, render
from lrpet_tf.search import search_ranks

_BUDGET = flags.DEFINE_float("budget", 0.4, "Share of the multiply-accumulates that may be left.")
_TRIALS = flags.DEFINE_integer("trials", 50, "Trials to score in all.")
_EPOCHS = flags.DEFINE_integer("epochs", 12, "Epochs of the dense training.")
_TUNING = flags.DEFINE_integer("tuning_epochs", 3, "Epochs of low-rank training after the search.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the weights and of the search.")
_OUTPUT = flags.DEFINE_string("output", "runs/search", "Folder of the trained network, the trials, the plan and the picture.")


def dense_model(data, path: pathlib.Path) -> keras.Model:
    """Returns the trained dense network, from an earlier run where there was one."""
    if path.exists():
        return keras.models.load_model(path)
    model = build_model(_SEED.value)
    train(model, data, [], _EPOCHS.value)
    model.save(path)
    return model


def tuned(dense: keras.Model, data, plan: lrpet.Plan) -> tuple[float, float]:
    """Returns the test accuracy of the network with the ranks of a plan, cut only and after some epochs of training."""
    model = build_model(_SEED.value)
    model.set_weights(dense.get_weights())
    lrpet.Projector(model, plan).project()
    lrpet.recalibrate_batch_norms(model, data[0], steps=10)
    cut = accuracy(model, data)
    model.set_weights(dense.get_weights())
    train(model, data, [lrpet.LRPETCallback(plan=plan)], _TUNING.value, learning_rate=1e-3)
    return cut, accuracy(lrpet.factorize(model, plan), data)


def uniform_plan(model: keras.Model, macs: float) -> lrpet.Plan:
    """Returns the plan of the largest uniform share of the full ranks that costs no more than `macs`."""
    plans = (lrpet.make_plan(model, share / 100, exclude="logits") for share in range(100, 0, -1))
    return next(plan for plan in plans if plan.low_rank_macs <= macs)


def main(argv):
    """Trains, searches, trains on, and compares."""
    del argv
    logging.set_verbosity(logging.WARNING)
    start = time.perf_counter()
    output = pathlib.Path(_OUTPUT.value)
    output.mkdir(parents=True, exist_ok=True)
    images, labels, *test = load_digits()
    held = len(images) // 4
    held_out, data = (images[:held], labels[:held]), (images[held:], labels[held:], *test)

    print("\n1. The dense model, trained on three quarters of the training images")
    dense = dense_model(data, output / "dense.keras")

    print(f"\n2. One ratio a layer, at most {_BUDGET.value:g} of the MACs, scored on the other quarter")
    result = search_ranks(
        dense, data[:2], scored_on=held_out, trials=_TRIALS.value, budget=_BUDGET.value, exclude="logits",
        storage=output / "trials.db", study_name=f"budget-{_BUDGET.value:g}", seed=_SEED.value,
    )  # fmt: skip
    print(result)
    result.plot(output / "pareto.png")
    result.best.plan.save(output / "plan.json")

    print(f"\n3. {_TUNING.value} epochs of low-rank training from the dense model, for these ranks and others of the same MACs")
    rows = [_row("dense", "-", accuracy(dense, data), lrpet.count_macs(dense), lrpet.count_params(dense))]
    plans = {
        "ranks found": result.best.plan,
        "MacsBudget rule": lrpet.make_plan(dense, lrpet.MacsBudget(_BUDGET.value), exclude="logits"),
        "uniform share": uniform_plan(dense, _BUDGET.value * result.dense_cost),
    }
    for name, plan in plans.items():
        cut, trained = tuned(dense, data, plan)
        rows.append(_row(name, f"{100 * cut:.1f} %", trained, plan.low_rank_macs, plan.low_rank_params))
    title = f"Handwritten digits, budget {_BUDGET.value:g}, {_TRIALS.value} trials, seed {_SEED.value}"
    print(render(title, ("", "test accuracy, cut only", "trained on", "MACs", "weights"), rows))
    print(f"Written: {output / 'pareto.png'}, {output / 'plan.json'}")
    print(f"Took {time.perf_counter() - start:.0f} s.")


def _row(name: str, cut: str, trained: float, macs: int, params: int) -> tuple[str, ...]:
    return name, cut, f"{100 * trained:.1f} %", megas(macs), megas(params)


if __name__ == "__main__":
    app.run(main)
