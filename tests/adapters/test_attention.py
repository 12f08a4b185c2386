"""Attention: every projection at a rank of its own, between stock layers."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import lrpet_tf as lrpet
from lrpet_tf import adapters, errors
from tests.oracle import relative_difference


def _data(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal((3, *shape)).astype("float32")


def _cross(**options):
    query, value = keras.Input((5, 12), name="query"), keras.Input((7, 10), name="value")
    outputs = layers.MultiHeadAttention(3, 6, name="attention", **options)(query, value)
    return keras.Model([query, value], outputs), [_data(5, 12), _data(7, 10, seed=1)]


def _scores():
    query, key = keras.Input((5, 12)), keras.Input((5, 9))
    attention = layers.MultiHeadAttention(3, 6, value_dim=4, name="attention")
    outputs = attention(query, query, key=key, return_attention_scores=True, use_causal_mask=True)
    return keras.Model([query, key], list(outputs)), [_data(5, 12), _data(5, 9, seed=1)]


def _masked():
    tokens = keras.Input((6,), dtype="int32")
    x = layers.Embedding(20, 12, mask_zero=True, name="table")(tokens)
    x = layers.MultiHeadAttention(2, 6, name="attention")(x, x)
    x = layers.LSTM(5, name="lstm")(x)
    return keras.Model(tokens, x), np.array([[3, 1, 4, 0, 0, 0], [1, 5, 9, 2, 6, 0]])


def _shared():
    first, second = keras.Input((5, 12)), keras.Input((4, 12))
    attention = layers.MultiHeadAttention(2, 6, name="attention")
    return keras.Model([first, second], [attention(first, first), attention(second, first)]), [_data(5, 12), _data(4, 12)]


def _grouped(**options):
    inputs = keras.Input((5, 12))
    x = layers.GroupQueryAttention(6, 4, 2, name="attention", **options)(inputs, inputs)
    return keras.Model(inputs, x), _data(5, 12)


MODELS = {
    "cross": _cross,
    "no bias": lambda: _cross(use_bias=False, output_shape=7),
    "other sizes": lambda: _cross(value_dim=4, output_shape=7),
    "gate": lambda: _cross(use_gate=True),
    "scores and a causal mask": _scores,
    "masked": _masked,
    "shared": _shared,
    "grouped": _grouped,
    "grouped without bias": lambda: _grouped(use_bias=False),
    "grouped gate": lambda: _grouped(use_gate=True),
}
# On JAX, Keras wants keys and values of one size.
marks = {"other sizes": pytest.mark.tensorflow}
every = pytest.mark.parametrize(
    "make", [pytest.param(make, id=name, marks=marks.get(name, ())) for name, make in MODELS.items()]
)


def _lively(make):
    keras.utils.set_random_seed(0)
    model, data = make()
    rng = np.random.default_rng(2)
    for weight in model.weights:
        if weight.name == "bias":
            weight.assign(rng.uniform(0.1, 0.5, weight.shape))
    return model, data


def _assert_equal(model, small, data):
    for one, other in zip(keras.tree.flatten(model(data)), keras.tree.flatten(small(data)), strict=True):
        assert relative_difference(ops.convert_to_numpy(one), ops.convert_to_numpy(other)) < 1e-5


@every
@pytest.mark.parametrize("form", ["channel", "tucker2"])
def test_full_rank_gives_equal_outputs(make, form):
    model, data = _lively(make)
    plan = lrpet.make_plan(model, 1.0, keep_if_no_gain=True, decomposition=form)
    _assert_equal(model, lrpet.factorize(model, plan), data)


@every
def test_trained_ranks_reproduce_outputs_and_cost_in_stock_layers(make):
    model, data = _lively(make)
    plan = lrpet.make_plan(model, 0.5, keep_if_no_gain=True)
    lrpet.Projector(model, plan).project()
    small = lrpet.factorize(model, plan)
    _assert_equal(model, small, data)
    assert lrpet.count_macs(small) == plan.low_rank_macs
    assert lrpet.count_params(small) == plan.low_rank_params
    assert all(type(layer).__module__.startswith("keras.") for layer in small._flatten_layers())


def test_the_last_layer_keeps_the_name_and_the_tensor():
    model, data = _lively(_cross)
    small = lrpet.factorize(model, lrpet.make_plan(model, 1.0, keep_if_no_gain=True))
    names = {layer.name for layer in small.layers}
    assert names >= {"attention_query_factor0", "attention_key_factor0", "attention_value_factor0", "attention_factor0"}
    inner = [keras.Model(each.inputs, each.get_layer("attention").output) for each in (model, small)]
    _assert_equal(*inner, data)


def test_a_saved_file_loads(tmp_path):
    model, data = _lively(_masked)
    small = lrpet.factorize(model, lrpet.make_plan(model, 1.0, keep_if_no_gain=True))
    small.save(tmp_path / "small.keras")
    _assert_equal(small, keras.models.load_model(tmp_path / "small.keras"), data)


def test_masks_still_count():
    model, data = _lively(_masked)
    small = lrpet.factorize(model, lrpet.make_plan(model, 1.0, keep_if_no_gain=True))
    changed = data.copy()
    changed[0, -1] = 7  # no padding any more
    before, after = (ops.convert_to_numpy(small(each)) for each in (data, changed))
    assert relative_difference(before[0], after[0]) > 1e-3


def test_one_projection_alone():
    model, data = _lively(_cross)
    for part in ("query", "key", "value", "attention_output"):
        plan = lrpet.make_plan(model, 4, keep_if_no_gain=True, include=f"attention/{part}")
        assert list(plan) == [f"attention/{part}"]
        lrpet.Projector(model, plan).project()
        _assert_equal(model, lrpet.factorize(model, plan), data)


def test_query_value_and_output_of_a_grouped_attention_have_one_rank():
    model, data = _lively(_grouped)
    ranks = {"attention/query": 7, "attention/attention_output": 4, ".*": 5}
    plan = lrpet.make_plan(model, ranks, keep_if_no_gain=True)
    assert {path: plan[path].rank for path in plan} == {
        "attention/query": 4, "attention/key": 5, "attention/value": 4, "attention/attention_output": 4,
    }  # fmt: skip
    lrpet.Projector(model, plan).project()
    _assert_equal(model, lrpet.factorize(model, plan), data)
    alone = lrpet.make_plan(model, 4, keep_if_no_gain=True, exclude="attention/query")
    assert set(alone) == {"attention/key"}
    assert "not all of which have one" in next(s.reason for s in alone.skipped if s.path.endswith("output"))


def test_what_cannot_be_made_narrower_is_listed_and_refused_by_name():
    model, _ = _lively(lambda: _cross(use_gate=True))
    reasons = {skipped.path: skipped.reason for skipped in lrpet.make_plan(model, 0.5, keep_if_no_gain=True).skipped}
    assert set(reasons) == {"attention/query", "attention/gate"}
    with pytest.raises(errors.PatternError, match="read the same input"):
        lrpet.make_plan(model, 0.5, include="attention/query")


def test_a_collapsed_projection_becomes_a_constant():
    model, data = _lively(_grouped)
    attention = model.get_layer("attention")
    attention._query_dense.kernel.assign(np.zeros(attention._query_dense.kernel.shape))
    plan = lrpet.make_plan(model, 4, keep_if_no_gain=True)
    lrpet.Projector(model, plan).project()
    _assert_equal(model, lrpet.factorize(model, plan), data)


def test_every_composite_layer_is_tested():
    assert set(adapters.COMPOSITES) == {layers.MultiHeadAttention, layers.GroupQueryAttention}
