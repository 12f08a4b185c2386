"""Planning and factorizing take time in proportion to the number of layers: calls are counted, not seconds."""

import cProfile
import sys

import keras
import numpy as np
import pytest
from keras import layers

import lrpet_tf as lrpet
from lrpet_tf.ranks import knapsack

pytestmark = pytest.mark.filterwarnings("ignore:.*not of their planned rank")


def _block(index):
    return [layers.Conv2D(4, 3, padding="same", name=f"conv{index}"), layers.BatchNormalization(name=f"norm{index}")]


def _functional(count):
    x = inputs = keras.Input((4, 4, 4))
    for index in range(count):
        for layer in _block(index):
            x = layer(x)
    return keras.Model(inputs, x)


def _sequential(count):
    return keras.Sequential([keras.Input((4, 4, 4)), *(layer for index in range(count) for layer in _block(index))])


def _heads(count):
    inputs = keras.Input((4, 4, 4))
    blocks = [_block(index) for index in range(count)]
    return keras.Model(inputs, [norm(conv(inputs)) for conv, norm in blocks])


class _Subclassed(keras.Model):
    def __init__(self, count):
        super().__init__()
        self.blocks = [each for _ in range(count) for each in _block("")]  # names that must be told apart

    def call(self, inputs):
        for layer in self.blocks:
            inputs = layer(inputs)
        return inputs


def _subclassed(count):
    model = _Subclassed(count)
    model(np.zeros((1, 4, 4, 4), "float32"))
    return model


def _calls(work):
    """Returns the number of calls of functions, also of those written in C."""
    profile = cProfile.Profile()
    profile.runcall(work)
    return sum(entry.callcount for entry in profile.getstats())


def _grows_linearly(work, sizes):
    """Whether twice the size takes twice the calls, beside a fixed part; of the square of the size it would take four times."""
    one, two, four = (_calls(lambda size=size: work(size)) for size in sizes)
    return four - two < 2.02 * (two - one)


@pytest.mark.parametrize("kind", [_functional, _sequential, _heads, _subclassed])
def test_calls_of_planning_and_factorizing(kind):
    sizes = (4, 8, 16)
    models = {size: kind(size) for size in sizes}
    plans = {size: lrpet.make_plan(model, 1) for size, model in models.items()}
    assert [len(plan) for plan in plans.values()] == list(sizes)
    lrpet.factorize(models[4], plans[4])  # the first use fills caches
    assert _grows_linearly(lambda size: lrpet.make_plan(models[size], 1), sizes)
    assert _grows_linearly(lambda size: lrpet.factorize(models[size], plans[size]), sizes)


def _alike(count):
    """Layers that are all alike, as those of an untrained model: where no option is clearly better than another."""
    spectrum = np.linspace(1, 0.3, 32)
    lost = np.append(np.cumsum(spectrum[::-1])[::-1], 0) / spectrum.sum()
    return [np.append(2000.0, np.arange(1, 17) * 100.0)] * count, [np.append(0, lost[1:17])] * count


def test_budgets_of_layers_that_are_alike(monkeypatch):
    monkeypatch.setattr(knapsack, "_TOTAL", 20_000)
    kept, front = [], knapsack._front

    def counting_front(cost, loss):
        kept.append(len(cost))
        return front(cost, loss)

    def work(count):
        costs, losses = _alike(count)
        budget = 0.5 * sum(cost[0] for cost in costs) + 30
        found = knapsack.minimise_sum(costs, losses, budget)
        assert found.cost <= budget
        assert found.gap <= 0.01 * found.loss

    assert _grows_linearly(work, (50, 100, 200))
    monkeypatch.setattr(knapsack, "_front", counting_front)
    totals = []
    for count in (50, 100, 200):
        kept.clear()
        work(count)
        totals.append(sum(kept))
    assert totals[2] < 2.3 * totals[1]


def test_a_model_as_deep_as_keras_can_build_becomes_deeper():
    model = keras.Sequential([keras.Input((2,)), *(layers.Dense(2, name=f"dense{index}") for index in range(150))])
    plan = lrpet.make_plan(model, 1, keep_if_no_gain=True)
    depth, frame = 0, sys._getframe()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(depth + 230)
    try:
        keras.Model(model.inputs, model.outputs)
        small = lrpet.factorize(model, plan)
        assert sys.getrecursionlimit() == depth + 230
    finally:
        sys.setrecursionlimit(before)
    assert len(small.layers) == 300
