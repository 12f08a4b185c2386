"""Rules of one's own, and several forms to choose from."""

import dataclasses

import keras
import numpy as np
from keras import layers

import lrpet_tf as lrpet
from lrpet_tf import ranks
from tests.ranks import nets


def test_a_rule_of_ones_own():
    @dataclasses.dataclass(frozen=True)
    class Widest(ranks.RankRule):
        def choose(self, problem):
            widest = max(problem.candidates, key=lambda candidate: candidate.dense.params)
            return {widest.path: 3, "hidden": ranks.Dense("by choice")}

    plan = lrpet.make_plan(nets.net(), Widest())
    assert {path: plan[path].rank for path in plan} == {"conv2": 3}
    assert {layer.path: layer.reason for layer in plan.skipped}["hidden"] == "by choice"


def test_auto_chooses_the_form_as_well():
    inputs = keras.Input((8, 8, 32))
    x = layers.Conv2D(32, 3, padding="same", use_bias=False, name="by_output")(inputs)
    x = layers.Conv2D(32, 3, padding="same", use_bias=False, name="by_input")(x)
    model = keras.Model(inputs, x)
    rng = np.random.default_rng(0)
    low_out = rng.standard_normal((3, 3, 32, 6)) @ rng.standard_normal((6, 32))
    low_in = np.einsum("ir,hwro->hwio", rng.standard_normal((32, 6)), rng.standard_normal((3, 3, 6, 32)))
    model.get_layer("by_output").kernel.assign(low_out)
    model.get_layer("by_input").kernel.assign(low_in)
    for rule in (ranks.MacsBudget(0.4), 0.25):
        plan = lrpet.make_plan(model, rule, decomposition="auto")
        assert {path: plan[path].decomposition for path in plan} == {"by_output": "channel", "by_input": "input_channel"}
    assert plan["by_input"].low_rank_macs <= plan["by_output"].low_rank_macs == oracle_macs(8)
    alone = lrpet.make_plan(model, ranks.MacsBudget(0.4))
    assert {plan.decomposition for plan in alone.layers} == {"channel"}


def oracle_macs(rank):
    return 64 * (9 * 32 * rank + rank * 32)
