"""Seeds, and searches that go on."""

import sqlite3

import pytest

from lrpet_tf import errors
from tests.search import toy


def test_the_same_seed_finds_the_same():
    first, second, other = (toy.search(seed=seed, budget=0.8) for seed in (0, 0, 1))
    assert toy.facts(first) == toy.facts(second)
    assert toy.facts(first) != toy.facts(other)


def test_a_search_that_goes_on_equals_one_that_was_never_interrupted(tmp_path):
    options = {"budget": 0.8, "study_name": "study"}
    whole = toy.search(trials=16, **options)
    path = tmp_path / "deep" / "search.db"
    part = toy.search(trials=5, storage=path, **options)
    assert toy.facts(whole)[: len(part.trials)] == toy.facts(part)
    calls = []

    def interrupted(model):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return toy.worth(model)

    with pytest.raises(KeyboardInterrupt):
        toy.search(trials=16, storage=f"sqlite:///{path}", score=interrupted, **options)
    resumed = toy.search(trials=16, storage=path, **options)
    # the numbers differ by the lost one
    assert [fact[1:] for fact in toy.facts(whole)] == [fact[1:] for fact in toy.facts(resumed)]
    again = toy.search(trials=16, storage=path, **options)
    assert toy.facts(again) == toy.facts(resumed)


def test_a_trial_that_was_running_when_the_process_was_killed_does_not_count(tmp_path):
    import optuna

    path = tmp_path / "search.db"
    toy.search(trials=3, storage=path)
    study = optuna.load_study(study_name="rank-search", storage=f"sqlite:///{path}")
    study.ask()
    resumed = toy.search(trials=6, storage=path)
    assert len(resumed.trials) == 6
    assert [fact[1:] for fact in toy.facts(resumed)] == [fact[1:] for fact in toy.facts(toy.search(trials=6))]
    with sqlite3.connect(path) as database:
        assert dict(database.execute("select state, count(*) from trials group by state"))["RUNNING"] == 1


def test_a_study_of_other_settings_is_refused(tmp_path):
    path = tmp_path / "search.db"
    toy.search(trials=2, storage=path)
    with pytest.raises(errors.LowRankError, match="other settings.*groups=.*then.*study_name='rank-search'"):
        toy.search(trials=2, storage=path, groups={"all": "a|b|c"})
    with pytest.raises(errors.LowRankError, match=r"budget=None then, 0\.5 now"):
        toy.search(trials=2, storage=path, budget=0.5)
    with pytest.warns(UserWarning, match="scored .* when .* and scores 0.3000 now"):
        toy.search(trials=3, storage=path, score=lambda model: 0.3)
