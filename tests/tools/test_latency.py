"""The committed table of latencies is that of the committed figures, and they say what the page says."""

import importlib.util
import json
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("latency", ROOT / "tools" / "latency.py")
latency = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(latency)

ROWS = [latency.Row(**row) for row in json.loads((ROOT / "docs" / "latency.json").read_text())["rows"]]
TABLES = sorted({(row.model, row.quantize or "float32") for row in ROWS})


def test_the_page_shows_the_figures():
    assert latency.markdown(ROWS) in (ROOT / "docs" / "latency.md").read_text()
    assert {model for model, _ in TABLES} == set(latency.MODELS)
    assert len(TABLES) == 2 * len(latency.MODELS)


@pytest.mark.parametrize(("model", "quantize"), TABLES)
def test_predicted_is_measured_and_plans_by_latency_are_not_slower(model, quantize):
    rows = [row for row in ROWS if (row.model, row.quantize or "float32") == (model, quantize)]
    assert all(abs(row.predicted / row.measured - 1) < 0.15 for row in rows)
    dense, by_latency, uniform, half, no_less = rows
    noise = 0.02
    assert by_latency.measured <= dense.measured + noise
    assert by_latency.measured <= uniform.measured + noise
    assert uniform.macs <= by_latency.macs
    assert no_less.energy >= half.energy
    assert no_less.measured < half.measured


def test_the_plans_that_are_compared():
    planner = latency.Planner(latency.MODELS["ResNet-20"]())
    planner.read_spectra()
    dense = planner.plan(latency.lrpet.Share(1.0)).macs
    for share in (0.4, 0.6, 0.9):
        assert latency.uniform_of(planner, share * dense).low_rank_macs <= share * dense
    half = planner.plan(latency.lrpet.Share(0.5))
    kept = [layer.energy_kept for layer in half.layers] + [1.0] * (20 - len(half))
    assert latency.energy_kept(planner, half) == pytest.approx(sum(kept) / 20)
