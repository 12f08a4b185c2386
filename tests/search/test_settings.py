import numpy as np
import pytest

from lrpet_tf import errors
from tests.search import toy


@pytest.mark.parametrize(("options", "message"), [
    ({"trials": 0}, "`trials`.*trials=0"), ({"budget": 0.0}, "`budget`.*budget=0.0"), ({"budget": 1.5}, "`budget`.*1.5"),
    ({"holdout": 0.0}, "`holdout`.*holdout=0.0"), ({"holdout": 1}, "`holdout`"), ({"low": 1.0}, "`low`"),
    ({"preset": "best"}, "`preset`.*'accuracy', 'lrpet'.*'best'"), ({"weight": -1}, "`weight`"), ({"seed": -1}, "`seed`"),
    ({"cost": "time"}, "`cost`.*cost='time'"), ({"groups": {}}, "`groups`"), ({"groups": "block"}, "`groups`"),
    ({"pruner": "all"}, "`pruner`"), ({"score": 3}, "`score`"), ({"score": lambda model: float("nan")}, "finite.*nan"),
    ({"holdout": 0.001, "score": None}, "leaves 0 of 100 rows"),
    ({"budget": 0.05}, r"cannot be reached: at the ratio low=0\.1.* 0\.2\d\d\d of the dense.*budget=0\.05.*Raise"),
    ({"groups": {"x": "a", "y": "a"}}, "Group 'y' has no layer"),
    ({"train": (np.zeros((3, 24)), np.zeros(4))}, "one length.*3, 4"),
])  # fmt: skip
def test_bad_settings(options, message):
    with pytest.raises(errors.LowRankError, match=message):
        toy.search(**options)
