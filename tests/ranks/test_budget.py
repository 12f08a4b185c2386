import keras
import numpy as np
import pytest
from keras import layers

import lrpet_tf as lrpet
from lrpet_tf import errors, ranks
from tests import models
from tests.ranks import nets


@pytest.mark.parametrize("criterion", ["sum", "max", "product"])
@pytest.mark.parametrize("share", [0.8, 0.5, 0.3])
def test_budgets_are_met_closely(share, criterion):
    model = nets.net()
    plan = lrpet.make_plan(model, ranks.MacsBudget(share, criterion=criterion))
    assert 0.98 * share * plan.macs < plan.low_rank_macs <= share * plan.macs
    assert plan.low_rank_macs == lrpet.count_macs(lrpet.factorize(nets.projected(model, plan), plan))
    plan = lrpet.make_plan(model, ranks.ParamsBudget(share, criterion=criterion))
    assert 0.99 * share * plan.params < plan.low_rank_params <= share * plan.params


def test_absolute_amounts():
    model = nets.net()
    plan = lrpet.make_plan(model, "MacsBudget('120 k')")
    assert 0.98 * 120e3 < plan.low_rank_macs <= 120e3
    assert lrpet.make_plan(model, ranks.MacsBudget(120_000)).layers == plan.layers
    assert lrpet.make_plan(model, ranks.ParamsBudget("12 k")).low_rank_params <= 12e3


def test_numpy_numbers_are_limits_too():
    model = nets.net()
    rule = ranks.MacsBudget(np.float64(0.5))
    assert ranks.get(repr(rule)) == rule
    assert lrpet.make_plan(model, rule) == lrpet.make_plan(model, ranks.MacsBudget(0.5))
    assert lrpet.make_plan(model, ranks.MacsBudget(np.int64(120_000))).low_rank_macs <= 120_000


def test_a_budget_of_everything_leaves_all_dense():
    plan = lrpet.make_plan(nets.net(), ranks.MacsBudget(1.0))
    assert not plan.layers
    assert "left dense by MacsBudget(1.0)" in {layer.path: layer.reason for layer in plan.skipped}["conv2"]


def test_more_budget_never_keeps_less():
    model = nets.net()
    losses = []
    for share in (0.3, 0.4, 0.5, 0.7, 0.9):
        plan = lrpet.make_plan(model, ranks.MacsBudget(share))
        losses.append(sum(1 - layer.energy_kept for layer in plan.layers))
    assert losses == sorted(losses, reverse=True)


def test_a_budget_keeps_more_than_a_uniform_share_of_the_same_cost():
    model = nets.net()
    uniform = lrpet.make_plan(model, 0.4)
    plan = lrpet.make_plan(model, ranks.MacsBudget(uniform.low_rank_macs))
    lost = sum(1 - layer.energy_kept for layer in plan.layers)
    names = {"conv0": "bn0", "conv1": "bn1", "conv2": "bn2"}
    assert lost < sum(1 - nets.kept(nets.spectrum(model, path, names.get(path)), uniform[path].rank) for path in uniform)
    assert plan.low_rank_macs <= uniform.low_rank_macs


def test_the_minimax_has_the_smaller_largest_loss():
    model = nets.net()
    largest = {
        criterion: max(
            1 - layer.energy_kept for layer in lrpet.make_plan(model, ranks.MacsBudget(0.5, criterion=criterion)).layers
        )
        for criterion in ("sum", "max")
    }
    assert largest["max"] <= largest["sum"]


def test_an_unreachable_budget_states_the_least():
    model = nets.net()
    least = lrpet.make_plan(model, 1).low_rank_macs  # rank one everywhere
    with pytest.raises(
        errors.BudgetError, match=f"MacsBudget\\(0.001\\).*least that can be reached is {least / 1e3:.2f} k MACs"
    ):
        lrpet.make_plan(model, ranks.MacsBudget(0.001))
    assert lrpet.make_plan(model, ranks.MacsBudget(least)).low_rank_macs == least
    with pytest.raises(errors.BudgetError):
        lrpet.make_plan(model, ranks.MacsBudget(least - 1))


def test_what_stays_dense_counts_in_the_budget_of_the_whole_model():
    model = nets.net()
    plan = lrpet.make_plan(model, ranks.MacsBudget(0.6), exclude="conv2")
    assert 0.97 * 0.6 * plan.macs < plan.low_rank_macs <= 0.6 * plan.macs
    with pytest.raises(errors.BudgetError, match="belong to layers that stay as they are"):
        lrpet.make_plan(model, ranks.MacsBudget(0.3), exclude=["conv1", "conv2"])


def test_in_a_pattern_the_budget_is_that_of_its_layers():
    model = nets.net()
    plan = lrpet.make_plan(model, {"conv[12]": ranks.MacsBudget(0.5)})
    assert set(plan) <= {"conv1", "conv2"}
    dense = {layer.path: layer.macs for layer in (*plan.layers, *plan.skipped)}
    before = dense["conv1"] + dense["conv2"]
    after = sum(plan[path].low_rank_macs if path in plan else dense[path] for path in ("conv1", "conv2"))
    assert 0.97 * 0.5 * before < after <= 0.5 * before


def test_unknown_sizes():
    model = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(32, 3, name="conv")])
    with pytest.raises(errors.LowRankError, match="layer 'conv' depend on an unknown size.*ParamsBudget"):
        lrpet.make_plan(model, ranks.MacsBudget(0.5))
    assert lrpet.make_plan(model, ranks.ParamsBudget(0.5))["conv"].low_rank_params <= 0.5 * 896


def test_a_layer_called_twice_counts_twice():
    model, _ = models.shared_layers()
    plan = lrpet.make_plan(model, ranks.MacsBudget(0.5))
    assert plan.low_rank_macs <= 0.5 * plan.macs == 0.5 * lrpet.count_macs(model)


def test_a_kernel_of_zeros_loses_nothing():
    model = nets.net()
    model.get_layer("conv2").kernel.assign(np.zeros((3, 3, 32, 48)))
    plan = lrpet.make_plan(model, ranks.MacsBudget(0.5))
    assert plan["conv2"].rank == 1
    assert plan["conv2"].energy_kept == 1


def test_a_kernel_of_nan_is_named():
    model = nets.net()
    model.get_layer("conv1").kernel.assign(np.full((3, 3, 24, 32), np.nan))
    with pytest.raises(errors.NonFiniteKernelError, match="'conv1'"):
        lrpet.make_plan(model, ranks.MacsBudget(0.5))
