"""The committed figures are those of the page and within the limits, and the tool reads and measures what it says."""

import importlib.util
import json
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("startup", ROOT / "tools" / "startup.py")
startup = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(startup)

IMPORTTIME = """import time: self [us] | cumulative | imported package
import time:       100 |        100 |   zipimport
import time:       200 |        300 | site
something else on stderr
import time:      5000 |       5000 |   numpy
import time:      1000 |    4000000 | keras
import time:        20 |         20 |     lrpet_tf.errors
import time:       300 |        320 |   lrpet_tf.linalg
import time:        40 |         40 |   statistics
import time:         7 |        367 | lrpet_tf
import time:       900 |        900 | atexit
"""


def test_what_importtime_prints():
    found = startup.read_imports(IMPORTTIME)
    assert found.keras == 4.0
    assert found.modules == {"lrpet_tf.errors": 2e-5, "lrpet_tf.linalg": 3e-4, "statistics": 4e-5, "lrpet_tf": 7e-6}


def test_the_page_shows_the_figures():
    content = json.loads((ROOT / "docs" / "startup.json").read_text())
    page = (ROOT / "docs" / "performance.md").read_text()
    assert f"{startup.BEGIN}\n{startup.markdown(content)}\n{startup.END}" in page
    assert content["import"]["added"] < 0.2
    rows = [startup.Row(**row) for row in content["rows"]]
    assert {(row.kind, row.layers) for row in rows} == {(kind, count) for kind in startup.KINDS for count in (50, 200, 800)}
    for kind in startup.KINDS:
        for name in ("plan", "budget", "factorize"):
            assert startup.exponent([row for row in rows if row.kind == kind], name) < 1.15, (kind, name)


@pytest.mark.parametrize(("power", "seconds"), [(1, (0.1, 0.4, 1.6)), (2, (0.1, 1.6, 25.6)), (0, (0.1, 0.1, 0.1))])
def test_the_exponent(power, seconds):
    rows = [startup.Row("chain", count, *[each] * 5) for count, each in zip((50, 200, 800), seconds, strict=True)]
    assert startup.exponent(rows, "plan") == pytest.approx(power)


@pytest.mark.parametrize("kind", startup.KINDS)
def test_the_kinds_of_models(kind):
    plan = startup.lrpet.make_plan(startup.KINDS[kind](12), 0.25)
    assert len(plan) == 12
    assert all(layer.batch_norm for layer in plan.layers)


def test_growth_and_files(tmp_path):
    rows = startup.measure_growth(["chain", "nested"], [2, 4], rounds=1)
    assert [(row.kind, row.layers) for row in rows] == [("chain", 2), ("chain", 4), ("nested", 2), ("nested", 4)]
    assert all(getattr(row, name) > 0 for row in rows for name in startup.TIMED)
    imports = {"added": 0.1, "largest": 0.12, "keras": 3.0, "runs": 2, "modules": {"lrpet_tf.plan": 0.004}}
    content = {"device": "a machine", "import": imports, "rows": [startup.dataclasses.asdict(row) for row in rows]}
    page = tmp_path / "page.md"
    page.write_text(f"# Before\n\n{startup.BEGIN}\nold\n{startup.END}\n\n# After\n")
    for _ in range(2):
        startup.write(content, tmp_path / "figures.json", page)
    text = page.read_text()
    assert text.startswith("# Before\n")
    assert text.endswith("# After\n")
    assert "old" not in text
    assert "**0.10 s**" in text
    assert text.count("| chain |") == 2
    assert json.loads((tmp_path / "figures.json").read_text()) == content


@pytest.mark.slow
def test_the_import_is_measured_in_a_fresh_process():
    found = startup.measure_imports(1)
    assert 0 < found["added"] < found["keras"]
    assert all(name.startswith("lrpet_tf") for name in found["modules"])
