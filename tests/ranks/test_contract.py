"""What every rule must do."""

import dataclasses

import pytest

import lrpet_tf as lrpet
from lrpet_tf import errors, ranks
from tests.ranks import nets

RULES = {
    "share": ranks.Share(0.4),
    "absolute": ranks.Absolute(5),
    "energy": ranks.Energy(0.8),
    "numerical": ranks.NumericalRank(0.3),
    "macs": ranks.MacsBudget(0.6),
    "macs, minimax": ranks.MacsBudget(0.6, criterion="max"),
    "macs, product": ranks.MacsBudget(0.6, criterion="product"),
    "params": ranks.ParamsBudget(0.6),
    "size": ranks.SizeBudget(0.7),
}


def _of_size(rule):
    return pytest.mark.tensorflow if isinstance(rule, ranks.SizeBudget) else ()


EVERY_RULE = [pytest.param(rule, id=name, marks=_of_size(rule)) for name, rule in RULES.items()]


@pytest.mark.parametrize("rule", EVERY_RULE)
def test_ranks_are_within_bounds(rule):
    plan = lrpet.make_plan(nets.net(), rule)
    assert plan.layers
    assert all(1 <= layer.rank <= layer.full_rank for layer in plan.layers)
    assert all(layer.low_rank_macs < layer.macs for layer in plan.layers)


@pytest.mark.parametrize("rule", EVERY_RULE)
def test_multiple_of_and_min_rank(rule):
    rounded = dataclasses.replace(rule, multiple_of=4, min_rank=5)
    plan = lrpet.make_plan(nets.net(), rounded, keep_if_no_gain=True)
    assert plan.layers
    for layer in plan.layers:
        assert layer.rank >= min(5, layer.full_rank)
        assert layer.rank % 4 == 0 or layer.rank == layer.full_rank


@pytest.mark.parametrize("rule", EVERY_RULE)
def test_rules_are_text_and_back(rule):
    assert ranks.get(repr(rule)) == rule
    rounded = dataclasses.replace(rule, multiple_of=4)
    assert ranks.get(repr(rounded)) == rounded


@pytest.mark.parametrize("rule", EVERY_RULE)
def test_rules_stand_in_a_dict_of_patterns(rule):
    plan = lrpet.make_plan(nets.net(), {"conv.*": rule, "hidden": 0.25})
    assert plan["hidden"].rank == 12
    assert any(path.startswith("conv") for path in plan)
    assert "head" not in plan


@pytest.mark.parametrize(
    "make",
    [
        lambda: ranks.Energy(0),
        lambda: ranks.Energy(1.1),
        lambda: ranks.Energy(True),
        lambda: ranks.MacsBudget(0.0),
        lambda: ranks.MacsBudget(1.5),
        lambda: ranks.MacsBudget(-3),
        lambda: ranks.MacsBudget("20 apples"),
        lambda: ranks.MacsBudget(True),
        lambda: ranks.MacsBudget(None),
        lambda: ranks.MacsBudget(0.5, criterion="mean"),
        lambda: ranks.ParamsBudget("0 k"),
        lambda: ranks.SizeBudget("300 ms"),
        lambda: ranks.SizeBudget(0.5, quantize="int4"),
        lambda: ranks.LatencyBudget(),
        lambda: ranks.LatencyBudget(0.5, ms=3),
        lambda: ranks.LatencyBudget(12),
        lambda: ranks.LatencyBudget(ms=0),
        lambda: ranks.LatencyBudget(0.5, table={}),
        lambda: ranks.LatencyBudget("12 kB"),
        lambda: ranks.Share(0.5, multiple_of=0),
        lambda: ranks.Share(0.5, min_rank=1.5),
    ],
)
def test_bad_values(make):
    with pytest.raises(errors.LowRankError, match="Received: "):
        make()


def test_unknown_options_are_refused():
    with pytest.raises(TypeError):
        ranks.MacsBudget(0.5, multiples=8)
