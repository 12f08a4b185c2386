"""Budgets on real architectures: met within one per cent, or the least is stated."""

import keras
import numpy as np
import pytest

import lrpet_tf as lrpet
from examples.cifar10 import models
from lrpet_tf.errors import BudgetError
from lrpet_tf.planning import Planner

MODELS = {
    "resnet20": lambda: models.resnet(20),
    "resnet32": lambda: models.resnet(32),
    "resnet56": lambda: models.resnet(56),
    "resnet110": lambda: models.resnet(110),
    "vgg16_bn": models.vgg16_bn,
    "ResNet50": lambda: keras.applications.ResNet50(weights=None),
    "MobileNetV2": lambda: keras.applications.MobileNetV2(weights=None),
    "EfficientNetB0": lambda: keras.applications.EfficientNetB0(weights=None),
}
SHARES = (0.75, 0.5, 0.25)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_budgets_are_met_within_one_per_cent(name):
    model = MODELS[name]()
    rules = [lrpet.MacsBudget(share, criterion=criterion) for share in SHARES for criterion in ("sum", "max")]
    planner = Planner(model)
    for rule in rules:
        plan = planner.plan(rule)
        assert 0.99 * rule.limit * plan.macs < plan.low_rank_macs <= rule.limit * plan.macs
        assert plan.macs == lrpet.count_macs(model)
    error = planner.attempt(lrpet.MacsBudget(1e-5))
    assert isinstance(error, BudgetError)
    least = planner.plan(lrpet.MacsBudget(min(1.0, error.least_share * (1 + 1e-9))))
    assert least.low_rank_macs / least.macs == pytest.approx(error.least_share)


@pytest.mark.slow
def test_budgets_that_multiples_make_coarse_are_met_from_below():
    model = MODELS["ResNet50"]()
    planner = Planner(model)
    for share in SHARES:
        plan = planner.plan(lrpet.MacsBudget(share, multiple_of=8, min_rank=16))
        assert plan.low_rank_macs > 0.99 * round(plan.low_rank_macs / plan.macs * 4) / 4 * plan.macs
        assert all(layer.rank % 8 == 0 and layer.rank >= 16 for layer in plan.layers)


@pytest.mark.slow
def test_the_product_gives_up_no_layer():
    model = keras.applications.MobileNetV2(weights=None, input_shape=(64, 64, 3))
    planner = Planner(model)
    kept = {}
    for criterion in ("sum", "product"):
        plan = planner.plan(lrpet.MacsBudget(0.5, criterion=criterion))
        kept[criterion] = [layer.energy_kept for layer in plan.layers]
    assert sum(1 - each for each in kept["sum"]) <= sum(1 - each for each in kept["product"])
    assert np.prod(kept["sum"]) < np.prod(kept["product"])
    assert min(kept["sum"]) < 0.1 < 0.2 < min(kept["product"])
