"""Attention: what its projections have to share."""

import keras
import pytest
from keras import layers

import lrpet_tf as lrpet
from tests.oracle import assert_full_rank_is_exact


def _grouped(rng, **options):
    inputs = keras.Input((5, 6))
    model = keras.Model(inputs, layers.GroupQueryAttention(**options, name="attention")(inputs, inputs))
    return model, rng.standard_normal((2, 5, 6)).astype("float32")


def _planned(model):
    return {path.split("/")[-1] for path in lrpet.make_plan(model, 1.0, keep_if_no_gain=True)}


@pytest.mark.parametrize("options, planned", [
    ({"num_query_heads": 4, "num_key_value_heads": 2}, {"query", "key", "value", "attention_output"}),
    ({"num_query_heads": 2, "num_key_value_heads": 1}, {"key"}),
    ({"num_query_heads": 2, "num_key_value_heads": 2, "use_gate": True}, {"key"}),
], ids=["wide value", "narrow value", "gate"])  # fmt: skip
def test_query_value_and_output_are_narrowed_together_or_not_at_all(rng, options, planned):
    model, data = _grouped(rng, head_dim=3, **options)
    assert _planned(model) == planned
    assert_full_rank_is_exact(model, data)


def test_ranks_that_differ_become_the_least_of_them(rng):
    model, data = _grouped(rng, head_dim=3, num_query_heads=4, num_key_value_heads=2)
    plan = lrpet.make_plan(model, {".*value": 2, ".*": 4}, keep_if_no_gain=True)
    assert [plan[f"attention/{name}"].rank for name in ("query", "value", "attention_output", "key")] == [2, 2, 2, 4]
    lrpet.Projector(model, plan).project()
    assert lrpet.factorize(model, plan).predict(data, verbose=0).shape == (2, 5, 6)


class Holder(layers.Layer):
    def __init__(self, gated=False, **kwargs):
        super().__init__(**kwargs)
        inputs = keras.Input((5, 6))
        attention = layers.GroupQueryAttention(3, 2, 1, name="attention") if gated else layers.MultiHeadAttention(2, 3)
        self.model = keras.Model(inputs, attention(inputs, inputs))

    def call(self, inputs):
        return self.model(inputs)


@pytest.mark.parametrize("gated", [False, True])
def test_attention_in_a_model_inside_a_layer_of_ones_own_keeps_the_same_rules(rng, gated):
    model = keras.Sequential([keras.Input((5, 6)), Holder(gated)])
    small = assert_full_rank_is_exact(model, rng.standard_normal((2, 5, 6)).astype("float32"))
    plan = lrpet.make_plan(model, 1.0, keep_if_no_gain=True)
    assert lrpet.count_params(small) == plan.low_rank_params
