import lrpet_tf as lrpet
from tests.search import toy


def test_weights_as_cost():
    result = toy.search(cost="params", budget=0.6, trials=4)
    assert result.best.plan.low_rank_params <= 0.6 * lrpet.count_params(toy.mlp())


class Stairs:
    """A device on which layer "a" is slower at any rank than dense."""

    def predict(self, model, plan):
        return 4.0 + sum(2.0 if path == "a" else plan[path].rank / 24 - 1.0 for path in plan)


def test_latency_as_cost():
    result = toy.search(cost=Stairs(), budget=0.8, trials=12)
    assert result.dense_cost == 4.0
    assert all(trial.cost <= 3.2 and "a" not in trial.plan for trial in result.of("scored"))
    assert "ms" in str(result)
