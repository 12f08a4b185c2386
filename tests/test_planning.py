import dataclasses
import json

import keras
import numpy as np
import pytest
from keras import layers

import lrpet_tf as lrpet
from lrpet_tf import errors
from lrpet_tf.layers import LRPETConv2D, LRPETDense
from lrpet_tf.ranks import NumericalRank
from tests import models


def _net():
    inner_in = keras.Input((12, 12, 32))
    x = layers.Conv2D(32, 3, padding="same", name="conv1")(inner_in)
    x = layers.Conv2D(32, 3, padding="same", name="conv2")(layers.BatchNormalization(name="bn")(x))
    block = keras.Model(inner_in, x, name="block")
    inputs = keras.Input((12, 12, 3))
    x = layers.Conv2D(32, 3, padding="same", name="stem")(inputs)
    x = layers.DepthwiseConv2D(3, name="depthwise")(block(x))
    x = layers.Dense(10, name="head")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, x, name="net")


def _ranks(plan):
    return {layer.path: layer.rank for layer in plan.layers}


def test_share_absolute_and_patterns():
    model = _net()
    assert _ranks(lrpet.make_plan(model, 0.25)) == {"stem": 6, "block/conv1": 8, "block/conv2": 8, "head": 2}
    assert _ranks(lrpet.make_plan(model, 5)) == {"stem": 5, "block/conv1": 5, "block/conv2": 5, "head": 5}
    plan = lrpet.make_plan(model, {"block/conv1": 4, "block/.*": 0.5, "head": 0.2})
    assert _ranks(plan) == {"block/conv1": 4, "block/conv2": 16, "head": 2}
    assert {layer.path: layer.reason for layer in plan.skipped}["stem"] == "no rank was chosen for it"
    assert plan["block/conv1"].rank == 4
    assert "stem" not in plan
    assert list(plan) == ["block/conv1", "block/conv2", "head"]


def test_numpy_numbers_are_ranks_too():
    model = _net()
    assert _ranks(lrpet.make_plan(model, np.int64(5))) == _ranks(lrpet.make_plan(model, 5))
    assert _ranks(lrpet.make_plan(model, np.float32(0.25))) == _ranks(lrpet.make_plan(model, 0.25))


def test_include_and_exclude():
    model = _net()
    assert set(_ranks(lrpet.make_plan(model, 0.25, include=r"block/.*"))) == {"block/conv1", "block/conv2"}
    assert set(_ranks(lrpet.make_plan(model, 0.25, exclude=["stem", r"block/.*2"]))) == {"block/conv1", "head"}
    plan = lrpet.make_plan(model, 0.25, include=["stem", "head"], exclude="head")
    assert set(_ranks(plan)) == {"stem"}
    reasons = {layer.path: layer.reason for layer in plan.skipped}
    assert reasons["head"] == "in `exclude`"
    assert reasons["block/conv1"] == "not in `include`"


def test_layers_without_a_gain_stay_dense_and_say_so():
    model = _net()
    plan = lrpet.make_plan(model, 0.95)
    assert set(_ranks(plan)) == set()
    assert "no gain" in {layer.path: layer.reason for layer in plan.skipped}["block/conv1"]
    forced = lrpet.make_plan(model, 0.95, keep_if_no_gain=True)
    assert set(_ranks(forced)) == {"stem", "block/conv1", "block/conv2", "head"}
    assert forced.low_rank_macs > forced.macs


def test_the_border_of_gain():
    # p = 27, m = 32: a pair saves when r < p·m / (p + m) = 14.6
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(32, 3, name="conv")])
    assert len(lrpet.make_plan(model, 14).layers) == 1
    assert len(lrpet.make_plan(model, 15).layers) == 0


def test_every_decision_has_its_reason():
    plan = lrpet.make_plan(_net(), 0.25)
    by_path = {layer.path: layer for layer in plan.layers}
    assert by_path["block/conv1"].batch_norm == "block/bn"
    assert by_path["block/conv2"].batch_norm is None
    assert "depthwise" in by_path["block/conv2"].reason
    assert [(layer.path, layer.layer_type) for layer in plan.skipped] == [("depthwise", "DepthwiseConv2D")]
    assert all(layer.reason for layer in (*plan.layers, *plan.skipped))


def test_totals():
    model = _net()
    plan = lrpet.make_plan(model, 0.25)
    assert plan.macs == lrpet.count_macs(model)
    assert plan.params == lrpet.count_params(model)
    assert plan.low_rank_macs < 0.5 * plan.macs


def test_json_round_trip(tmp_path):
    plan = lrpet.make_plan(_net(), 0.25)
    plan.save(tmp_path / "plan.json")
    assert lrpet.Plan.load(tmp_path / "plan.json") == plan
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]
    assert hash(lrpet.Plan.from_json(plan.to_json())) == hash(plan)
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.layers = ()
    (tmp_path / "plan.json").write_bytes(b"PK\x03\x04\xff")  # no text at all
    with pytest.raises(errors.LowRankError, match="not a plan"):
        lrpet.Plan.load(tmp_path / "plan.json")


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"format": "another"}', json.dumps({"format": "lrpet_tf plan 1", "layers": [{}]})]
)
def test_what_is_no_plan(text):
    with pytest.raises(errors.LowRankError, match="not a plan"):
        lrpet.Plan.from_json(text)


def test_the_table():
    text = str(lrpet.make_plan(_net(), 0.25))
    for part in ("block/conv1", "8 of 32", "3×3×32×32", "whole model", "depthwise: each filter", "block/bn"):
        assert part in text
    assert all(len(line) <= 140 for line in text.splitlines())


@pytest.mark.parametrize("rank", [0, -1, 1.5, 0.0, -0.5, "half", True, {}, {"stem": 0}, {"stem": 2.0}])
def test_bad_ranks(rank):
    with pytest.raises(errors.RankError, match="Received: rank="):
        lrpet.make_plan(_net(), rank)


def test_a_rank_above_the_full_rank_names_the_layer():
    with pytest.raises(errors.RankError, match="layer 'stem'.*full rank, 27.*rank=28.*exclude"):
        lrpet.make_plan(_net(), 28)
    assert "stem" not in _ranks(lrpet.make_plan(_net(), 10, exclude=["stem"]))


@pytest.mark.parametrize(("options", "argument"), [
    ({"include": "conv1"}, "include"), ({"exclude": ["nothing"]}, "exclude"), ({"rank": {"nothing": 0.5}}, "rank"),
    ({"include": "("}, "include"), ({"exclude": [3]}, "exclude"), ({"include": "depthwise"}, "include"),
    ({"rank": {"depthwise": 0.5}}, "rank"),
])  # fmt: skip
def test_patterns_that_select_nothing(options, argument):
    with pytest.raises(errors.PatternError, match=f"`{argument}` holds the pattern.*whole layer path.*'stem'"):
        lrpet.make_plan(_net(), **{"rank": 0.25, **options})


def test_a_named_layer_that_cannot_be_factorized_says_why():
    with pytest.raises(errors.PatternError, match="'depthwise', depthwise: each filter"):
        lrpet.make_plan(_net(), 0.25, include="depthwise")


def test_declared_ranks():
    model, _ = models.own_layers()
    plan = lrpet.make_plan(model)
    assert _ranks(plan) == {"declared": 8, "declared_dense": 4}
    assert {layer.path for layer in plan.skipped} == {"chain", "chain_dense"}
    assert _ranks(lrpet.make_plan(model, 0.25)) == {"declared": 4, "declared_dense": 3}


def test_no_rank_and_none_declared():
    with pytest.raises(errors.LowRankError, match="rank=None"):
        lrpet.make_plan(_net())


def test_a_declared_rank_above_the_full_rank():
    model = keras.Sequential([keras.Input((8, 8, 3)), LRPETConv2D(16, 3, rank=17, name="conv"), LRPETDense(4, rank=2)])
    with pytest.raises(errors.RankError, match="'conv'.*full rank, 16.*rank=17"):
        lrpet.make_plan(model)


def test_the_model_is_not_changed():
    model = _net()
    before, config = model.get_weights(), model.to_json()
    lrpet.make_plan(model, 0.25)
    assert model.to_json() == config
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_numerical_rank(rng):
    model = keras.Sequential([keras.Input((40,)), layers.Dense(32, name="dense")])
    kernel = rng.standard_normal((40, 5)) @ rng.standard_normal((5, 32))
    model.get_layer("dense").kernel.assign(kernel)
    assert _ranks(lrpet.make_plan(model, NumericalRank())) == {"dense": 5}
    model.get_layer("dense").kernel.assign(np.zeros((40, 32)))
    assert _ranks(lrpet.make_plan(model, NumericalRank())) == {"dense": 1}


def test_custom_layers_with_a_kernel_are_listed():
    class Mine(layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(shape[-1], 4))

        def call(self, inputs):
            return keras.ops.matmul(inputs, self.kernel)

    model = keras.Sequential([keras.Input((40,)), layers.Dense(32, name="dense"), Mine(name="mine")])
    (skipped,) = lrpet.make_plan(model, 0.25).skipped
    assert (skipped.path, skipped.reason) == (
        "mine",
        "no adapter for layers of type Mine: pass one in `adapters` (docs/adapters.md)",
    )
