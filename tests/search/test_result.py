import dataclasses

import numpy as np
import pytest

from lrpet_tf import errors
from lrpet_tf.plan import Plan
from lrpet_tf.search import RankTrial, SearchResult
from lrpet_tf.search.cost import PlanCost
from lrpet_tf.search.pareto import pareto_front

COST = PlanCost("MACs", lambda plan: 0, lambda cost: f"{cost:g} MACs", adds_up=True)


def _trial(number, cost, score, state="scored"):
    return RankTrial(number, state, {"conv": 0.5}, Plan((), ()), cost, score, score)


def _result(*trials, budget=0.5):
    return SearchResult(trials, 0.98, 100.0, COST, budget, {"conv": ("conv",)})


@pytest.mark.parametrize("seed", range(5))
def test_the_front_is_that_of_brute_force(seed):
    rng = np.random.default_rng(seed)
    costs, scores = rng.integers(0, 12, 60), rng.integers(0, 12, 60)  # with many ties
    no_worse = (costs[:, None] <= costs) & (scores[:, None] >= scores)
    better = (costs[:, None] < costs) | (scores[:, None] > scores)
    expected = {(costs[i], scores[i]) for i in range(60) if not np.any((no_worse & better)[:, i])}
    front = pareto_front(costs, scores)
    assert [(costs[i], scores[i]) for i in front] == sorted(expected)
    assert all(i == np.flatnonzero((costs == costs[i]) & (scores == scores[i]))[0] for i in front)


def test_of_equal_trials_the_cheapest_is_best_and_pruned_ones_never_are():
    result = _result(_trial(0, 40, 0.9), _trial(1, 30, 0.9), _trial(2, 20, 0.99, "pruned"), _trial(3, 10, 0.5))
    assert result.best.number == 1
    assert [trial.number for trial in result.pareto] == [3, 1]


def test_the_table_shows_front_best_and_dense():
    over = dataclasses.replace(_trial(2, 90, None, "over budget"))
    text = str(_result(_trial(0, 40, 0.9), _trial(1, 30, 0.8), over))
    assert "trial 0 (best)" in text and "trial 1" in text and "trial 2" not in text
    assert "2 trials scored to the end, 0 stopped early, 1 proposals over the budget of 0.5" in text
    assert "100 MACs" in text and "0.9800" in text and "0.400" in text


def test_a_picture_is_written(tmp_path):
    image = pytest.importorskip("matplotlib.image")
    _result(_trial(0, 40, 0.9), _trial(1, 30, 0.8), _trial(2, 35, 0.2, "pruned")).plot(tmp_path / "pareto.png")
    picture = image.imread(tmp_path / "pareto.png")
    assert min(picture.shape[:2]) > 300
    assert picture[..., :3].std() > 0.02
    _result(_trial(0, 40, 0.9), budget=None).plot(tmp_path / "one.svg")
    assert (tmp_path / "one.svg").stat().st_size > 1000
    with pytest.raises(errors.LowRankError, match="folder that exists"):
        _result(_trial(0, 40, 0.9)).plot(tmp_path / "nowhere" / "pareto.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.svg", "pareto.png"]


def test_a_missing_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(errors.MissingExtraError, match=r"matplotlib.*lrpet-tf\[plot\]"):
        _result(_trial(0, 40, 0.9)).plot("nowhere.png")
