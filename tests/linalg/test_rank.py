import numpy as np
import pytest

from lrpet_tf.errors import LowRankError, RankError
from lrpet_tf.linalg import rank_from_share, validate_rank


@pytest.mark.parametrize(
    ("share", "full", "rank"),
    [(0.43, 100, 43), (0.29, 100, 29), (0.57, 100, 57), (0.5, 3, 1), (0.01, 16, 1), (1.0, 7, 7), (0.46, 16, 7)],
)
def test_share(share, full, rank):
    assert rank_from_share(share, full) == rank


def test_every_percentage_of_a_hundred_is_itself():
    assert [rank_from_share(percent / 100, 100) for percent in range(1, 101)] == list(range(1, 101))


@pytest.mark.parametrize("rank", [0, -3, 0.0, -0.5, 1.5, float("nan"), float("inf"), "half", True, None, np.float64(2.0)])
def test_bad_rank_is_named_with_the_way_out(rank):
    with pytest.raises(RankError, match="Received: rank=.*rank=0.5") as caught:
        validate_rank(rank)
    assert isinstance(caught.value, LowRankError)
    assert isinstance(caught.value, ValueError)


def test_limit_and_layer_are_named():
    with pytest.raises(RankError, match="layer 'block/conv'.*full rank, 16.*rank=17"):
        validate_rank(17, 16, "block/conv")


@pytest.mark.parametrize(
    ("rank", "kind"), [(1, int), (np.int64(3), int), (0.5, float), (np.float32(0.25), float), (1.0, float)]
)
def test_kinds(rank, kind):
    assert type(validate_rank(rank)) is kind
