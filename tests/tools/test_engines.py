"""The engines are timed, and thresholds follow from the times; the committed page shows the committed figures."""

import json

import keras
import numpy as np
import pytest

from tools import engines, measuring


def _row(side, rank, **seconds):
    return {
        **{"side": side, "aspect": 1, "count": 1, "rank": rank},
        "seconds": {name.replace("_", " "): value for name, value in seconds.items()},
        "passes": {"subspace": True, "randomized": True},
    }


def _rows():
    """Up to side 16 an SVD is fastest, from 64 on a start pays, below 3/32 of 128 a random range does."""
    rows = []
    for side in (8, 16, 32, 64, 128):
        for rank in (side // 16 or 1, side // 8, side // 2):
            gram, svd = 1.0 + side, 1.0 + side**2 / 20
            subspace, random = 50.0, 1.0 + 10 * side * rank / side
            times = {"svd": svd, "gram": gram, "randomized": random}
            flat = {f"flat_{name}": value for name, value in times.items()}
            rows.append(
                _row(side, rank, **flat, **{f"low_{name}": value for name, value in times.items()}, low_subspace=subspace)
            )
    return rows


def test_measures_every_engine():
    row = engines.measure(8, 4, 2, 2, rounds=2, seconds=0)
    expected = {f"{spectrum} {engine}" for spectrum in ("flat", "low") for engine in ("svd", "gram", "randomized")}
    assert {*row["seconds"]} == expected | {"low subspace"}
    assert all(value > 0 for value in row["seconds"].values())
    assert row["passes"] == {"subspace": True, "randomized": True}
    assert (row["side"], row["aspect"], row["count"], row["rank"]) == (8, 4, 2, 2)


@pytest.mark.parametrize("aspect", [1, 3])
def test_the_matrices_are_near_the_rank(aspect):
    flat, low, start = engines.matrices(12, aspect, 2, 3)
    assert flat.shape == low.shape == (2, 12 * aspect, 12)
    assert start.shape == (2, 12, 3)
    values = np.linalg.svd(low, compute_uv=False)
    assert np.all(values[:, 3] < 0.01 * values[:, 2])
    subspace = low @ start @ np.swapaxes(start, -1, -2) if aspect > 1 else start @ np.swapaxes(start, -1, -2) @ low
    assert np.linalg.norm(low - subspace) < 0.005 * np.linalg.norm(low)


def test_what_is_measured():
    found = engines.configurations(engines.SIDES)
    assert {each["side"] for each in found} == {*engines.SIDES}
    assert all(1 <= each["rank"] < each["side"] for each in found)
    assert max(each["count"] * each["aspect"] * each["side"] ** 2 for each in found if each["count"] > 1) <= 2**20


def test_thresholds():
    found = engines.thresholds(_rows())
    assert (found["svd_up_to"], found["subspace_from"]) == (16, 64)
    assert 1 / 16 < found["randomized_below"] < 1 / 8


def test_thresholds_where_one_engine_is_the_fastest_everywhere():
    always = [_row(128, 8, flat_svd=9, flat_gram=1, low_svd=9, low_gram=1, low_subspace=2, low_randomized=3)]
    assert engines.thresholds(always) == {"svd_up_to": 0, "subspace_from": 256, "randomized_below": 0.0}
    untimed = [_row(128, 8, flat_gram=1, low_gram=1, low_subspace=0.5, low_randomized=0.5)]
    assert engines.thresholds(untimed) == {
        "svd_up_to": 0,
        "subspace_from": 128,
        "randomized_below": pytest.approx(0.062, abs=0.001),
    }


def test_the_files_keep_what_others_have_measured(tmp_path):
    thresholds, rows = tmp_path / "thresholds.json", tmp_path / "rows.json"
    found, machine = engines.thresholds(_rows()), measuring.environment()
    name = engines.key(machine)
    assert name == f"{keras.backend.backend()}/cpu"
    for each in ("jax/gpu", name, name):
        engines.write_thresholds(thresholds, each, found)
        engines.write_rows(rows, each, machine, found, _rows())
    assert json.loads(thresholds.read_text()) == {"jax/gpu": found, name: found}
    content = engines.read(rows)
    assert {*content} == {"jax/gpu", name}
    assert content[name]["rows"] == _rows()
    assert content[name]["thresholds"] == found
    assert content[name]["dtype"] == "float32"
    text = engines.tables(content)
    assert text.count("`svd_up_to` 16, `subspace_from` 64") == 2
    assert "| 8 | 0.47 | 5.56 | 11.90 |" in text


def test_the_page_shows_the_figures():
    page = (engines.PAGE).read_text()
    content = engines.tables(engines.read(engines.PAGE.parent / "engines.json"))
    assert measuring.replace_section(page, "engines", content) == page
