"""The trade-off between what a model costs and how well it does."""

from collections.abc import Sequence

import numpy as np


def pareto_front(costs: Sequence[float], scores: Sequence[float]) -> list[int]:
    """Returns the entries that no other one beats.

    An entry is beaten by one that costs no more and scores no less, and is better in one of the two. Of equal entries the
    first one stays.

    Args:
        costs: Costs; less is better.
        scores: Scores; more is better.

    Returns:
        Indices, by rising cost and so by rising score.
    """
    order = np.lexsort((np.arange(len(costs)), -np.asarray(scores, float), np.asarray(costs, float)))
    front, best = [], -np.inf
    for index in map(int, order):
        if scores[index] > best:
            front.append(index)
            best = scores[index]
    return front
