import itertools

import numpy as np
import pytest

from lrpet_tf.ranks import knapsack


def _brute_force(costs, losses, budget, total):
    best = None
    for options in itertools.product(*(range(len(cost)) for cost in costs)):
        if sum(cost[j] for cost, j in zip(costs, options, strict=True)) <= budget:
            loss = total(loss[j] for loss, j in zip(losses, options, strict=True))
            best = loss if best is None else min(best, loss)
    return best


def _instance(rng, kind):
    groups = int(rng.integers(1, 6))
    costs, losses = [], []
    for _ in range(groups):
        count = int(rng.integers(1, 8))
        cost = rng.integers(1, 60, count).astype(float)
        loss = {
            "random": rng.random(count),
            "spectrum": np.sort(rng.random(count) ** 3)[::-1][np.argsort(np.argsort(cost))],
            "ties": rng.integers(0, 3, count) / 4,
        }[kind]
        costs.append(cost)
        losses.append(loss)
    lowest, highest = (sum(getattr(cost, which)() for cost in costs) for which in ("min", "max"))
    return costs, losses, float(rng.uniform(lowest - 2, highest + 2))


@pytest.mark.parametrize("kind", ["random", "spectrum", "ties"])
@pytest.mark.parametrize(("solve", "total"), [(knapsack.minimise_sum, sum), (knapsack.minimise_max, max)])
def test_small_instances_are_solved_to_optimality(kind, solve, total, rng):
    for _ in range(120):
        costs, losses, budget = _instance(rng, kind)
        best, found = _brute_force(costs, losses, budget, total), solve(costs, losses, budget)
        if best is None:
            assert found is None
            continue
        spent = sum(cost[j] for cost, j in zip(costs, found.options, strict=True))
        reached = total(loss[j] for loss, j in zip(losses, found.options, strict=True))
        assert spent == pytest.approx(found.cost)
        assert spent <= budget
        assert reached == pytest.approx(best, abs=1e-12)
        assert found.loss == pytest.approx(reached, abs=1e-12)
        assert found.gap == 0


def test_minimax_spends_what_is_left_on_the_sum():
    # The first group sets the largest loss; the second may use the rest of the budget.
    costs, losses = [np.array([1.0, 9.0]), np.array([1.0, 2.0, 3.0])], [np.array([0.5, 0.0]), np.array([0.4, 0.2, 0.1])]
    assert knapsack.minimise_max(costs, losses, 4.5).options == (0, 2)


def test_a_large_instance_is_near_its_bound(rng):
    costs, losses = [], []
    for size in rng.integers(50, 800, 60):
        spectrum = np.sort(rng.random(size))[::-1] ** 2
        tails = 1 - np.cumsum(spectrum) / spectrum.sum()
        costs.append(np.arange(1, size + 1) * float(rng.integers(1000, 90_000)))
        losses.append(np.maximum(tails, 0))
    budget = 0.4 * sum(cost[-1] for cost in costs)
    found = knapsack.minimise_sum(costs, losses, budget)
    assert 0.999 * budget < found.cost <= budget
    # An independent bound: for any price, no choice within the budget loses less than the cheapest priced options.
    bounds = [
        sum((loss + price * cost).min() for cost, loss in zip(costs, losses, strict=True)) - price * budget
        for price in np.geomspace(1e-9, 1e-5, 400)
    ]
    assert found.loss - max(bounds) < 1e-3 * found.loss


def test_a_width_that_is_too_small_is_told(rng, monkeypatch):
    monkeypatch.setattr(knapsack, "_WIDTH", 3)
    inexact = 0
    for _ in range(200):
        costs, losses, budget = _instance(rng, "random")
        found, best = knapsack.minimise_sum(costs, losses, budget), _brute_force(costs, losses, budget, sum)
        if found is not None:
            assert best - 1e-12 <= found.loss <= best + found.gap + 1e-12
            inexact += found.gap > 0
    assert inexact


def test_budgets_that_are_the_least_but_for_rounding(rng):
    for _ in range(300):
        costs = [rng.random(int(rng.integers(1, 6))) * 3 for _ in range(int(rng.integers(1, 8)))]
        losses = [rng.random(len(cost)) for cost in costs]
        for solve in (knapsack.minimise_sum, knapsack.minimise_max):
            for total in (sum(cost.min() for cost in costs), sum(cost.min() for cost in reversed(costs)),
                          sum(cost.max() for cost in reversed(costs))):  # fmt: skip
                found = solve(costs, losses, total)
                assert found.cost <= total * (1 + 1e-11)


def test_a_single_option_and_no_options_to_spare():
    assert knapsack.minimise_sum([np.array([5.0])], [np.array([0.0])], 5).options == (0,)
    assert knapsack.minimise_sum([np.array([5.0])], [np.array([0.0])], 4.9) is None
    assert knapsack.minimise_max([np.array([5.0])], [np.array([0.0])], 4.9) is None
