"""Measures what the library adds to the start of a program, and how the time of planning grows with the number of layers.

    python tools/startup.py             # all, about a quarter of an hour on 2 cores; writes docs/startup.json and the page
    python tools/startup.py --layers=   # the import alone, in about a minute; nothing is written

Exits with 1 where the import adds more than `--limit` seconds. Leave the machine alone meanwhile.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import dataclasses
import gc
import json
import pathlib
import re
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import numpy as np
from absl import app, flags
from keras import layers
from tqdm.auto import tqdm

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import lrpet_tf as lrpet
from lrpet_tf.costs import device_name
from lrpet_tf.files import write_atomically

ROOT = pathlib.Path(__file__).parents[1]
WIDTH = 8
SHAPE = (8, 8, WIDTH)
SHARE = 0.25
# What is timed, by its name in `Row`.
TIMED = {
    "build": "Keras builds the model",
    "plan": "`make_plan`",
    "budget": "`make_plan`, `MacsBudget`",
    "factorize": "`factorize`",
    "clone": "Keras clones the result",
}
BEGIN, END = "<!-- the figures: python tools/startup.py -->", "<!-- the end of the figures -->"
# Imports both, and tells which share of the time it was running for: other programs may have had the processor meanwhile.
_CODE = """
from time import perf_counter, process_time
start = perf_counter(), process_time()
import keras
between = perf_counter(), process_time()
import lrpet_tf
end = perf_counter(), process_time()
for one, other in ((start, between), (between, end)):
    print((other[1] - one[1]) / (other[0] - one[0]))
"""
_LINE = re.compile(r"import time: +(\d+) \| +(\d+) \| ( *)(\S+)$")


def _conv() -> list[layers.Layer]:
    return [layers.Conv2D(WIDTH, 3, padding="same", use_bias=False), layers.BatchNormalization(), layers.ReLU()]


def chain(count: int) -> keras.Model:
    """Returns convolutions in a row, each with its batch norm and activation, as a Functional model."""
    x = inputs = keras.Input(SHAPE)
    for _ in range(count):
        for layer in _conv():
            x = layer(x)
    return keras.Model(inputs, x)


def sequential(count: int) -> keras.Model:
    """Returns the same as a Sequential model."""
    return keras.Sequential([keras.Input(SHAPE), *(layer for _ in range(count) for layer in _conv())])


def residual(count: int) -> keras.Model:
    """Returns residual blocks of two convolutions."""
    x = inputs = keras.Input(SHAPE)
    for _ in range(count // 2):
        y = x
        for layer in (*_conv(), *_conv()[:2]):
            y = layer(y)
        x = layers.ReLU()(layers.Add()([x, y]))
    return keras.Model(inputs, x)


def nested(count: int) -> keras.Model:
    """Returns a model of Sequential models of ten convolutions."""
    x = inputs = keras.Input(SHAPE)
    for start in range(0, count, 10):
        x = sequential(min(10, count - start))(x)
    return keras.Model(inputs, x)


KINDS: dict[str, Callable[[int], keras.Model]] = {
    "chain": chain,
    "Sequential": sequential,
    "residual": residual,
    "nested": nested,
}


@dataclasses.dataclass(frozen=True)
class Row:
    """The median processor times of one model, in seconds; see `TIMED`.

    Attributes:
        kind: Name of the kind of model.
        layers: Number of convolutions.
        build: Until Keras has built the model.
        plan: `make_plan` with a share.
        budget: `make_plan` with a budget of multiply-accumulates, which reads the kernels.
        factorize: `factorize` with a plan.
        clone: `keras.models.clone_model` of the factorized model.
    """

    kind: str
    layers: int
    build: float
    plan: float
    budget: float
    factorize: float
    clone: float


class Imports(NamedTuple):
    """What one process tells: seconds until Keras is there, and those of each module that the library then loads."""

    keras: float
    modules: dict[str, float]


def read_imports(text: str, shares: Sequence[float] = (1.0, 1.0)) -> Imports:
    """Reads what `-X importtime` writes of `import keras; import lrpet_tf`: each module after those that it loads.

    Args:
        text: What it writes.
        shares: Which share of the time the process was running for, in each of the two imports.

    Returns:
        The times, less those in which it was not running.
    """
    found = [match.groups() for match in map(_LINE.match, text.splitlines()) if match]
    at = {module: index for index, (_, _, indent, module) in enumerate(found) if not indent}
    start, end = at["keras"], at["lrpet_tf"]
    own = {module: shares[1] * int(own) / 1e6 for own, _, _, module in found[start + 1 : end + 1]}
    return Imports(shares[0] * int(found[start][1]) / 1e6, own)


def measure_imports(runs: int) -> dict:
    """Measures the imports in fresh processes.

    Args:
        runs: Number of processes, beside a first one that fills the file caches.

    Returns:
        Medians in seconds: what the library adds, what Keras takes, and the heaviest modules of the library.
    """
    command = [sys.executable, "-X", "importtime", "-c", _CODE]
    found = []
    for _ in tqdm(range(runs + 1), "imports"):
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        found.append(read_imports(result.stderr, [min(1.0, float(share)) for share in result.stdout.split()]))
    found = found[1:]
    added = [sum(each.modules.values()) for each in found]
    modules = {name: statistics.median(each.modules.get(name, 0) for each in found) for name in found[0].modules}
    heaviest = sorted(modules, key=modules.get, reverse=True)[:5]
    return {
        "added": round(statistics.median(added), 4),
        "largest": round(max(added), 4),
        "keras": round(statistics.median(each.keras for each in found), 4),
        "runs": runs,
        "modules": {name: round(modules[name], 4) for name in heaviest},
    }


def _seconds(work: Callable) -> tuple[float, object]:
    """Returns the processor time of some work, which other programs disturb less than they do the clock, and its result."""
    start = time.process_time()
    made = work()
    return time.process_time() - start, made


def measure_once(kind: str, count: int) -> Row:
    """Times a model of a number of convolutions, once."""
    gc.collect()
    build, model = _seconds(lambda: KINDS[kind](count))
    plan, made = _seconds(lambda: lrpet.make_plan(model, SHARE))
    budget, _ = _seconds(lambda: lrpet.make_plan(model, lrpet.MacsBudget(0.5)))
    factorize, small = _seconds(lambda: lrpet.factorize(model, made))
    clone, _ = _seconds(lambda: keras.models.clone_model(small))
    return Row(kind, count, build, plan, budget, factorize, clone)


def measure_growth(kinds: Sequence[str], counts: Sequence[int], rounds: int) -> list[Row]:
    """Times models of several sizes in turns.

    Args:
        kinds: Names of kinds of models.
        counts: Numbers of convolutions.
        rounds: How often each is timed.

    Returns:
        Medians.
    """
    cases = [(kind, count) for kind in kinds for count in counts]
    found: dict[tuple, list[Row]] = {case: [] for case in cases}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the weights are not trained for these ranks, and need not be
        measure_once(*cases[0])  # fills caches
        for case in tqdm(cases * rounds, "models"):
            found[case].append(measure_once(*case))
            keras.utils.clear_session(free_memory=False)
    medians = {
        case: {name: statistics.median(getattr(row, name) for row in rows) for name in TIMED} for case, rows in found.items()
    }
    return [Row(*case, **{name: round(value, 4) for name, value in each.items()}) for case, each in medians.items()]


def exponent(rows: Sequence[Row], name: str) -> float:
    """Returns the slope of the logarithm of a time over that of the number of layers: 1 is linear, 2 quadratic."""
    return float(np.polyfit(*(np.log([getattr(row, each) for row in rows]) for each in ("layers", name)), 1)[0])


def _shown(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def markdown(content: dict) -> str:
    """Returns the figures as text and a table."""
    imports, rows = content["import"], [Row(**row) for row in content["rows"]]
    modules = ", ".join(f"`{name}` {1000 * seconds:.0f} ms" for name, seconds in imports["modules"].items())
    lines = [
        f"Measured on {content['device']}.",
        "",
        f"`import lrpet_tf` adds **{imports['added']:.2f} s** to `import keras`, which takes {imports['keras']:.1f} s: medians "
        f"of {imports['runs']} fresh processes by `-X importtime`, at most {imports['largest']:.2f} s. The heaviest modules: "
        f"{modules}.",
        "",
        f"| model | convolutions | {' | '.join(TIMED.values())} |",
        f"| --- | ---: |{' ---: |' * len(TIMED)}",
    ]
    for kind in dict.fromkeys(row.kind for row in rows):
        of_kind = [row for row in rows if row.kind == kind]
        for row in of_kind:
            cells = [_shown(getattr(row, name)) for name in TIMED]
            lines.append(f"| {kind} | {row.layers} | {' | '.join(cells)} |")
        cells = [f"**{exponent(of_kind, name):.2f}**" for name in TIMED]
        lines.append(f"| | exponent | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write(content: dict, output: pathlib.Path, page: pathlib.Path) -> None:
    """Writes the figures, and their text between the marks of the page."""
    write_atomically(output, f"{json.dumps(content, indent=1)}\n".encode())
    before, _, rest = page.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    write_atomically(page, f"{before}{BEGIN}\n{markdown(content)}\n{END}{after}".encode())


def main(argv):
    """Measures, writes the figures, and checks the import."""
    del argv
    imports = measure_imports(_RUNS.value)
    print(json.dumps(imports, indent=1))
    if _LAYERS.value:
        counts = list(map(int, _LAYERS.value))
        sys.setrecursionlimit(sys.getrecursionlimit() + 20 * max(counts))  # Keras goes through a graph by recursion
        rows = measure_growth(list(KINDS), counts, _ROUNDS.value)
        device = f"{device_name().split(',')[0]}, Keras {keras.__version__} on {keras.backend.backend()}"
        content = {"device": device, "import": imports, "rows": [dataclasses.asdict(row) for row in rows]}
        print(markdown(content))
        write(content, pathlib.Path(_OUTPUT.value), pathlib.Path(_PAGE.value))
    if imports["added"] > _LIMIT.value:
        raise SystemExit(f"The import adds {imports['added']:.3f} s to that of Keras; {_LIMIT.value} s are allowed.")


if __name__ == "__main__":
    _LIMIT = flags.DEFINE_float("limit", 0.2, "Largest number of seconds that the import may add to that of Keras.")
    _RUNS = flags.DEFINE_integer("runs", 7, "Number of processes that import the library.")
    _LAYERS = flags.DEFINE_list("layers", ["50", "200", "800"], "Numbers of convolutions; empty to measure the import alone.")
    _ROUNDS = flags.DEFINE_integer("rounds", 3, "How often each model is timed.")
    _OUTPUT = flags.DEFINE_string("output", str(ROOT / "docs" / "startup.json"), "The JSON file to write.")
    _PAGE = flags.DEFINE_string("page", str(ROOT / "docs" / "performance.md"), "The page whose figures are replaced.")
    app.run(main)
