import json

import keras
import pytest
from keras import layers

import lrpet_tf as lrpet
from lrpet_tf import errors
from tests import models


def _plan(rank=0.25):
    return lrpet.make_plan(models.branches()[0], rank)


def test_rows_hold_planned_and_skipped_layers_with_the_same_keys():
    plan = _plan()
    rows = plan.to_rows()
    assert plan.layers
    assert plan.skipped
    assert [row["path"] for row in rows] == [layer.path for layer in (*plan.layers, *plan.skipped)]
    assert [row["factorized"] for row in rows] == [True] * len(plan.layers) + [False] * len(plan.skipped)
    assert len({tuple(row) for row in rows}) == 1
    assert all(type(row) is dict for row in rows)
    for total in ("macs", "low_rank_macs", "params", "low_rank_params"):
        assert sum(row[total] for row in rows) == getattr(plan, total)
    first, last = rows[0], rows[-1]
    assert {key: first[key] for key in vars(plan.layers[0])} == vars(plan.layers[0])
    assert (last["rank"], last["kernel_shape"], last["energy_kept"]) == (None, None, None)
    assert last["reason"] == plan.skipped[-1].reason
    json.dumps(rows)


def test_an_empty_plan_has_no_rows():
    assert lrpet.Plan((), ()).to_rows() == []


def test_dataframe():
    pandas = pytest.importorskip("pandas")
    plan = _plan(lrpet.MacsBudget(0.5))
    frame = plan.to_dataframe()
    assert list(frame["path"]) == [row["path"] for row in plan.to_rows()]
    assert frame["low_rank_macs"].sum() == plan.low_rank_macs
    assert frame.dtypes["rank"] == "Int64"
    planned = frame[frame["factorized"]]
    assert list(planned["rank"]) == [layer.rank for layer in plan.layers]
    assert list(planned["energy_kept"]) == [layer.energy_kept for layer in plan.layers]
    assert list(lrpet.Plan((), ()).to_dataframe().columns) == list(frame.columns)
    assert isinstance(frame, pandas.DataFrame)


def test_dataframe_of_unknown_sizes():
    pytest.importorskip("pandas")
    model = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(32, 3, name="conv")])
    frame = lrpet.make_plan(model, 0.25).to_dataframe()
    assert frame["macs"].isna().all()
    assert list(frame["params"]) == [3 * 3 * 3 * 32 + 32]


def test_without_pandas(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(errors.MissingExtraError, match="pandas"):
        _plan().to_dataframe()


def test_the_table_shows_the_energy_and_the_note():
    plan = _plan(lrpet.MacsBudget(0.5))
    text = str(plan)
    assert plan.note in text
    assert "energy kept" in text
    for layer in plan.layers:
        assert f"{layer.energy_kept:.4f}" in text
    assert "energy kept" not in str(_plan(0.25))


def test_long_tables_stay_narrow():
    names = [f"{'encoder_' * 8}{index}" for index in range(3)]
    inputs = x = keras.Input((128, 128, 64))
    for name in names:
        x = layers.Conv2D(2048, 3, padding="same", name=name)(x)
    plan = lrpet.make_plan(keras.Model(inputs, x), {".*0": lrpet.Energy(0.9, multiple_of=8), ".*": 0.4})
    text = str(plan)
    assert "energy kept" in text
    assert max(map(len, text.splitlines())) <= 140


def test_the_plan_stays_hashable_and_round_trips():
    plan = _plan(lrpet.MacsBudget(0.5))
    plan.to_rows()[0]["rank"] = 99  # a copy
    assert lrpet.Plan.from_json(plan.to_json()) == plan
    assert hash(lrpet.Plan.from_json(plan.to_json())) == hash(plan)
