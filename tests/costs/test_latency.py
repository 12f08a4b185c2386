"""Tables of latency: what they hold, what is predicted from them, and what a budget makes of them. No time is asserted."""

import json

import keras
import numpy as np
import pytest
from keras import layers

import lrpet_tf as lrpet
from lrpet_tf import decompositions, errors, ranks
from lrpet_tf.costs import calls_by_path, layer_key, measure_latency, micro_models, model_key
from lrpet_tf.costs.micro import entry_key, ranks_that_matter
from lrpet_tf.graph import read_graph
from tests import models

CHANNEL = (decompositions.DECOMPOSITIONS["channel"],)


def _net():
    inputs = keras.Input((8, 8, 32))
    x = layers.Conv2D(32, 3, padding="same", use_bias=False, name="a")(inputs)
    x = layers.Conv2D(32, 3, padding="same", use_bias=False, name="b")(layers.BatchNormalization()(x))
    x = layers.Conv2D(64, 3, strides=2, name="c")(x)
    return keras.Model(inputs, layers.Dense(10, name="head")(layers.GlobalAveragePooling2D()(x)), name="net")


def _table(model, latency, whole=20.0, **kwargs):
    """A table in which `latency(path, rank)` tells the time; equal layers must be given equal times."""
    found = {model_key(read_graph(model)): whole}
    for path, keys in calls_by_path(read_graph(model)).items():
        layer = model.get_layer(path)
        found[entry_key(keys[0])] = latency(path, None)
        shape = (1, 1, *layer.kernel.shape) if len(layer.kernel.shape) == 2 else tuple(layer.kernel.shape)
        for rank in ranks_that_matter(CHANNEL[0], shape):
            found[entry_key(keys[0], "channel", rank)] = latency(path, rank)
    return lrpet.LatencyTable("a device", None, 1, found)


def _staircase(path, rank):
    """At 32 channels: steps of 16, and no gain above; the head never gains."""
    if path == "head":
        return 1.0 if rank is None else 1.1
    dense = {"a": 4.0, "b": 4.0, "c": 8.0}[path]
    return dense if rank is None else dense * (0.25 + 0.25 * -(-rank // 16))


def test_equal_layers_share_a_key_and_others_do_not():
    keys = calls_by_path(read_graph(_net()))
    assert keys["a"] == keys["b"]
    assert len({key for found in keys.values() for key in found}) == 3
    same = layers.Conv2D(32, 3, padding="same", use_bias=False, kernel_regularizer="l2", name="other")
    same.build((None, 8, 8, 32))
    assert layer_key(same, (None, 8, 8, 32)) == keys["a"][0]
    for options, shape in (
        ({"strides": 2}, (None, 8, 8, 32)),
        ({"dilation_rate": 2}, (None, 8, 8, 32)),
        ({"padding": "valid"}, (None, 8, 8, 32)),
        ({}, (None, 9, 8, 32)),
        ({"activation": "relu"}, (None, 8, 8, 32)),
    ):
        other = layers.Conv2D(32, 3, **{"padding": "same", "use_bias": False, **options})
        other.build(shape)
        assert layer_key(other, shape) != keys["a"][0]


def test_models_that_compute_something_else_have_other_keys():
    def net(activation):
        inputs = keras.Input((8, 8, 3))
        x = layers.Conv2D(8, 3, activation=layers.LeakyReLU(), name="conv")(inputs)
        return keras.Model(inputs, layers.Activation(activation)(x))

    assert model_key(read_graph(net("relu"))) == model_key(read_graph(net("relu"))) != model_key(read_graph(net("gelu")))
    assert calls_by_path(read_graph(net("relu"))) == calls_by_path(
        read_graph(net("gelu"))
    )  # names of layers inside do not matter


@pytest.mark.tensorflow
def test_a_cache_that_cannot_be_written_loses_nothing(tmp_path):
    model = keras.Sequential([keras.Input((8,)), layers.Dense(6)])
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="could not be kept"):
        table = measure_latency(model, cache=tmp_path / "file" / "table.json", seconds=0.1, verbose=False)
    assert table.model_ms(read_graph(model), model.name) > 0


def test_ranks_that_matter_are_those_that_save_weights():
    for shape, expected in (
        ((3, 3, 16, 16), [4, 8, 12]),
        ((3, 3, 32, 32), [4, 8, 12, 16, 20, 24, 28]),
        ((3, 3, 64, 64), [8, 16, 24, 32, 40, 48, 56]),
        ((1, 1, 64, 3), []),
    ):
        assert ranks_that_matter(CHANNEL[0], shape) == expected
    many = ranks_that_matter(CHANNEL[0], (3, 3, 512, 512))
    assert len(many) <= 16
    assert many[-1] < 9 * 512 * 512 / (9 * 512 + 512)


@pytest.mark.tensorflow
def test_micro_models_compute_what_their_layers_would():
    model, _ = models.branches()
    found = list(micro_models(read_graph(model), CHANNEL))
    assert len({micro.key for micro in found}) == len(found)
    for micro in found:
        built = micro.build()
        call = next(call for call in read_graph(model).calls if call.layer is micro.layer)
        assert built.input_shape == call.input_shape
        assert built.output_shape == call.output_shape
        assert len(built.layers) - 1 == (1 if micro.rank is None else 2)


def test_the_prediction_is_the_whole_less_what_the_layers_gain():
    model = _net()
    table = _table(model, _staircase)
    assert table.predict(model) == 20
    plan = lrpet.make_plan(model, {"a": 16, "c": 20})
    assert table.predict(model, plan) == 20 - 4 * 0.5 - 8 * 0.25  # 20 counts as 24, the next one measured
    assert table.predict(model, lrpet.make_plan(model, {"a": 28})) == 20 - 4 * 0.25
    above = lrpet.make_plan(model, {"a": 31}, keep_if_no_gain=True)
    assert table.predict(model, above) == 20  # nothing measured above: as dense


def test_a_table_of_another_model():
    table = _table(_net(), _staircase)
    other, _ = models.residual()
    with pytest.raises(errors.LowRankError, match="'a device' does not hold model 'residual'.*measure_latency"):
        table.predict(other)
    with pytest.raises(errors.LowRankError, match="does not hold"):
        lrpet.make_plan(other, ranks.LatencyBudget(0.9, table=table))


def test_json_round_trip(tmp_path):
    table = _table(_net(), _staircase)
    table.save(tmp_path / "phone.json")
    assert lrpet.LatencyTable.load(tmp_path / "phone.json") == table
    for text in ("", "{}", "[]", json.dumps({"format": "another"})):
        with pytest.raises(errors.LowRankError, match="not a table"):
            lrpet.LatencyTable.from_json(text)
    (tmp_path / "phone.json").write_bytes(b"PK\x03\x04\xff")  # no text at all
    with pytest.raises(errors.LowRankError, match="not a table"):
        lrpet.LatencyTable.load(tmp_path / "phone.json")


def test_the_printed_table():
    text = str(_table(_net(), _staircase))
    assert "a device, float32, 1 thread" in text
    assert "16: 0.50" in text
    assert "8.000 ms" in text


def test_the_budget_takes_the_good_edges_and_leaves_dense_what_is_not_faster():
    model = _net()
    table = _table(model, _staircase)
    plan = lrpet.make_plan(model, ranks.LatencyBudget(0.8, table=table))
    assert "head" not in plan
    assert "no rank is cheaper" in {layer.path: layer.reason for layer in plan.skipped}["head"]
    assert all(layer.rank in (16, 28, 32, 48) for layer in plan.layers)  # the last measured rank of each step
    assert table.predict(model, plan) <= 0.8 * 20
    assert "20 ms →" in plan.note
    by_ms = lrpet.make_plan(model, ranks.LatencyBudget(ms=16, table=table))
    assert by_ms.layers == plan.layers == lrpet.make_plan(model, ranks.LatencyBudget("16 ms", table=table)).layers


def test_latency_beats_multiply_accumulates_at_its_own_budget():
    model = _net()
    table = _table(model, _staircase)
    by_latency = lrpet.make_plan(model, ranks.LatencyBudget(0.7, table=table))
    by_macs = lrpet.make_plan(model, ranks.MacsBudget(by_latency.low_rank_macs))
    assert table.predict(model, by_latency) <= table.predict(model, by_macs)


def test_an_unreachable_latency_states_the_least():
    model = _net()
    table = _table(model, _staircase)
    least = 20 - 8 * 0.5 - 8 * 0.5
    with pytest.raises(errors.BudgetError, match=f"LatencyBudget\\(0.2.*least that can be reached is {least:.3g} ms, 0.6000"):
        lrpet.make_plan(model, ranks.LatencyBudget(0.2, table=table))
    assert table.predict(model, lrpet.make_plan(model, ranks.LatencyBudget(0.6, table=table))) == least


def test_a_gain_within_the_noise_is_none():
    model = _net()
    table = _table(model, lambda path, rank: 4.0 if rank is None else 3.95)
    with pytest.raises(errors.BudgetError):
        lrpet.make_plan(model, ranks.LatencyBudget(0.99, table=table))


def test_multiples_and_patterns_and_files(tmp_path):
    model = _net()
    table = _table(model, lambda path, rank: 4.0 if rank is None else 4.0 * rank / 64)
    plan = lrpet.make_plan(model, ranks.LatencyBudget(0.7, table=table, multiple_of=16))
    assert {layer.rank % 16 for layer in plan.layers} == {0}
    table.save(tmp_path / "phone.json")
    text = f"LatencyBudget(0.5, table={str(tmp_path / 'phone.json')!r})"
    plan = lrpet.make_plan(model, {"a": text, "c": 0.25})
    assert table.predict(model, {"a": plan["a"]}) <= 20 - 2  # half of that layer's own 4 ms
    with pytest.raises(FileNotFoundError):
        ranks.LatencyBudget(0.5, table=tmp_path / "missing.json")


def test_unknown_sizes_and_bad_values():
    model = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(32, 3, name="conv")])
    with pytest.raises(errors.LowRankError, match="'conv' depends on an unknown size"):
        measure_latency(model, cache=None)
    for options in ({"quantize": "int4"}, {"threads": 0}):
        with pytest.raises(errors.LowRankError, match="Received"):
            measure_latency(_net(), cache=None, **options)


@pytest.mark.tensorflow
@pytest.mark.parametrize("quantize", [None, "int8"])
def test_measuring_fills_the_table_and_the_cache(quantize, tmp_path, monkeypatch, capsys):
    model = keras.Sequential([keras.Input((8, 8, 8)), layers.Conv2D(16, 3, name="conv"), layers.Flatten(), layers.Dense(6)])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    plan = lrpet.make_plan(model, {"conv": 5})
    table = measure_latency(model, quantize=quantize, plans=[plan], seconds=0.2)
    (key,) = calls_by_path(read_graph(model))["conv"]
    assert table.ranks(key, "channel") == [4, 5, 8, 12]
    assert len(table.milliseconds) == 1 + 1 + 4 + 1 + len(ranks_that_matter(CHANNEL[0], (1, 1, 576, 6)))
    assert all(np.isfinite(value) and value > 0 for value in table.milliseconds.values())
    assert (table.quantize, table.threads) == (quantize, 1)
    assert "model" in capsys.readouterr().out  # the progress bar
    (file,) = (tmp_path / "lrpet_tf").iterdir()
    assert lrpet.LatencyTable.load(file) == table
    assert measure_latency(model, quantize=quantize, seconds=0.2) == table  # not one number is measured anew
    assert capsys.readouterr().out == ""
    whole = file.read_text()
    file.write_text(whole[:80])
    with pytest.raises(errors.LowRankError, match=f"not a table.*{file.name}'. Delete the file"):
        measure_latency(model, quantize=quantize)
    other = measure_latency(model, quantize=quantize, threads=2, seconds=0.2, cache=tmp_path / "two.json", verbose=False)
    assert other.threads == 2
    with pytest.raises(errors.LowRankError, match="Expected a table of.*1 threads.*Received: one of.*2 threads"):
        measure_latency(model, quantize=quantize, cache=tmp_path / "two.json")


@pytest.mark.tensorflow
def test_a_budget_without_a_table_measures_by_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model = keras.Sequential([keras.Input((16, 16, 64)), layers.Conv2D(64, 3, name="conv")])
    plan = lrpet.make_plan(model, ranks.LatencyBudget(1.0))
    assert "LatencyBudget(1.0)" in plan.note
    assert list((tmp_path / "lrpet_tf").iterdir())
