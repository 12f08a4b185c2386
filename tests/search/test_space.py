import numpy as np
import pytest

import lrpet_tf as lrpet
from lrpet_tf import errors
from lrpet_tf.search import search_ranks
from tests.search import toy


def test_the_first_group_that_matches_counts_and_other_layers_stay_dense():
    result = toy.search(groups={"first": "a", "rest": ["a", "b"]}, trials=4)
    assert result.members == {"first": ("a",), "rest": ("b",)}
    for trial in result.trials:
        assert set(trial.plan) <= {"a", "b"}
        if "b" in trial.plan:
            assert trial.plan["b"].rank == lrpet.linalg.rank_from_share(trial.ratios["rest"], 24)


def test_ratios_are_log_uniform():
    ratios = [ratio for trial in toy.search(trials=10, low=0.01).trials for ratio in trial.ratios.values()]
    assert min(ratios) >= 0.01 and max(ratios) <= 1.0
    assert 0.3 < np.mean(np.log(ratios) / np.log(0.01)) < 0.7


def test_bad_patterns_and_options():
    with pytest.raises(errors.PatternError, match="`groups`.*'z'.*matches no layer"):
        toy.search(groups={"x": "a", "y": "z"})
    with pytest.raises(errors.PatternError, match="`groups`.*'head'.*in `exclude`"):
        toy.search(groups={"x": "head"})
    with pytest.raises(errors.NothingToFactorizeError, match="low=0.9"):
        toy.search(low=0.9)
    with pytest.raises(TypeError, match="exlude"):
        search_ranks(toy.mlp(), toy.data(), exlude="a")
