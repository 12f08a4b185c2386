"""What a user may write for a rule."""

import pytest

from lrpet_tf import errors, ranks


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("0.5", ranks.Share(0.5)),
        ("8", ranks.Absolute(8)),
        ("MacsBudget(0.5)", ranks.MacsBudget(0.5)),
        ("SizeBudget('300 kB', quantize='int8')", ranks.SizeBudget("300 kB", quantize="int8")),
        ("{'conv.*': 'Energy(0.9)', 'head': 0.5}", ranks.ByPattern({"conv.*": ranks.Energy(0.9), "head": ranks.Share(0.5)})),
        ("LatencyBudget(ms=12)", ranks.LatencyBudget(ms=12)),
    ],
)
def test_texts(text, rule):
    assert ranks.get(text) == rule


@pytest.mark.parametrize(
    "text", ["half", "", "MacsBudget", "MacsBudget()", "__import__('os')", "Unknown(0.5)", "0.5 +", "'0.5'"]
)
def test_texts_that_are_no_rank(text):
    with pytest.raises(errors.RankError, match="Received: rank="):
        ranks.get(text)
