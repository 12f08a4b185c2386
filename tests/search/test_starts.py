import lrpet_tf as lrpet
from tests.search import toy


def test_the_search_begins_with_the_largest_uniform_ratio_within_the_budget():
    result = toy.search(trials=1, budget=0.5)
    (trial,) = result.trials
    (ratio,) = set(trial.ratios.values())
    more = lrpet.make_plan(toy.mlp(), ratio + 1 / 24, exclude="head")
    assert trial.cost <= 0.5 * result.dense_cost < more.low_rank_macs
