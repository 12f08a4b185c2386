import itertools

import pytest

import lrpet_tf as lrpet
from lrpet_tf import errors
from lrpet_tf.ranks import Share
from tests.search import toy


def test_it_finds_the_optimum_that_brute_force_finds():
    model = toy.mlp()
    result = toy.search(model, trials=60, budget=0.7, pruner=None)
    best = -1.0
    for ranks in itertools.product([3, 6, 9, 11, 24], repeat=3):  # 12 and more save nothing: such a layer is dense
        ratios = dict(zip("abc", (rank / 24 for rank in ranks), strict=True))
        plan = lrpet.make_plan(model, {name: Share(ratio) for name, ratio in ratios.items()}, exclude="head")
        if plan.low_rank_macs <= 0.7 * plan.macs:
            best = max(best, sum(toy.WORTH[name] * ratio for name, ratio in ratios.items()))
    assert best - 0.04 <= result.best.score
    assert result.best.plan.low_rank_macs <= 0.7 * result.dense_cost
    assert "a" not in result.best.plan  # the layer that matters stays dense
    budget_rule = lrpet.make_plan(model, lrpet.MacsBudget(0.7), exclude="head")
    assert result.best.score >= sum(toy.WORTH[n] * (budget_rule[n].rank / 24 if n in budget_rule else 1) for n in "abc") - 1e-9


def test_a_progress_bar(capsys):
    toy.search(trials=3, verbose=True)
    assert "3/3" in capsys.readouterr().out
    toy.search(trials=3)
    assert not capsys.readouterr().out


def test_a_missing_optuna_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(errors.MissingExtraError, match=r"optuna.*lrpet-tf\[search\]"):
        toy.search()
