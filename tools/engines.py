"""Times the engines of the projection, and derives from what size on each is the fastest on this machine.

    python tools/engines.py --output=engines.json                      # about half an hour on 2 cores
    KERAS_BACKEND=jax python tools/engines.py --output=engines.json    # the same for JAX, in the same file
    LRPET_ENGINES=engines.json python train.py                         # engine="auto" now goes by these thresholds

Leave the machine alone meanwhile. `--rows=docs/engines.json` keeps all times too, and `--report` writes their table into
`docs/performance.md`.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import json
import math
import pathlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import keras
import numpy as np
from absl import app, flags
from keras import ops
from tqdm.auto import tqdm

from lrpet_tf.files import write_atomically
from lrpet_tf.linalg import truncate_and_measure
from lrpet_tf.linalg.engines import randomized, subspace
from lrpet_tf.linalg.weighted import Gram, Weighted
from lrpet_tf.training.compiling import compiled
from tools.measuring import NAMES, Contestant, environment, interleaved, median, table, wait, write_sections

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "performance.md"
SIDES = (8, 16, 32, 64, 128, 256, 512, 1024)
ASPECTS = (1, 4, 9)
SHARES = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4)
COUNTS = (1, 8)
DTYPE = "float32"
# As `training.batches` does: what is larger is not batched.
_LARGEST_BATCH = 2**20
# From this side on shares of the rank tell about `"randomized"`; on smaller ones the vectors that it takes on top count.
_LEAST_SIDE = 128
# What random noise adds to a matrix of low rank, as a share of its norm: about what a step of training does.
_MOVE = 0.002


def configurations(sides: Sequence[int]) -> list[dict]:
    """Returns what to time: batches of matrices of `aspect · side` rows and `side` columns, and a rank."""
    found = []
    for side in sides:
        for aspect in ASPECTS:
            counts = [count for count in COUNTS if count == 1 or count * aspect * side**2 <= _LARGEST_BATCH]
            ranks = sorted({max(1, round(share * side)) for share in SHARES})
            found += [{"side": side, "aspect": aspect, "count": count, "rank": rank} for count in counts for rank in ranks]
    return found


def matrices(side: int, aspect: int, count: int, rank: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns random matrices, others near a rank, and bases of the smaller side of these before they moved."""
    rng = np.random.default_rng(0)
    rows = aspect * side
    flat = rng.standard_normal((count, rows, side), DTYPE)
    left, _ = np.linalg.qr(rng.standard_normal((count, rows, rank), DTYPE))
    right, _ = np.linalg.qr(rng.standard_normal((count, side, rank), DTYPE))
    low = (left * np.linspace(1.0, 0.2, rank, dtype=DTYPE)) @ np.swapaxes(right, -1, -2)
    size = np.sqrt(np.mean(low**2, axis=(-2, -1), keepdims=True))
    return flat, low + _MOVE * size * rng.standard_normal(low.shape, DTYPE), right if rows > side else left


def projection(engine: str, rank: int) -> Callable:
    """Returns the compiled projection of matrices, which may begin at bases, by an engine."""

    def project(matrix, *start):
        return truncate_and_measure(matrix, rank, engine=engine, start=start[0] if start else None)

    return compiled(project, [], [])


def measure(side: int, aspect: int, count: int, rank: int, *, with_svd: bool = True, rounds: int, seconds: float) -> dict:
    """Times the engines on matrices of one shape and rank.

    Args:
        side: Number of columns, the smaller side.
        aspect: Number of rows as a multiple of it.
        count: Number of matrices.
        rank: The rank.
        with_svd: Whether to time `"svd"` as well.
        rounds: Least number of rounds.
        seconds: Rounds go on for about that long.

    Returns:
        A row: what was timed; median seconds by spectrum and engine, of `"subspace"` beginning at good bases; and whether its
        test, and that of `"randomized"`, passes near the rank.
    """
    flat, low, start = map(ops.convert_to_tensor, matrices(side, aspect, count, rank))
    engines = [*(["svd"] if with_svd else []), "gram", "randomized"]
    functions = {engine: projection(engine, rank) for engine in engines}
    warm = projection("subspace", rank)

    def timed(function, *args):
        return Contestant(lambda: wait([function(*args).matrix]))

    contestants = {f"flat {engine}": timed(function, flat) for engine, function in functions.items()}
    contestants |= {f"low {engine}": timed(function, low) for engine, function in functions.items()}
    contestants["low subspace"] = timed(warm, low, start)
    found = interleaved(contestants, rounds=rounds, seconds=seconds)
    weighted = Weighted(low)
    passes = {
        "subspace": subspace.project(weighted, start, Gram(weighted))[0],
        "randomized": randomized.project(weighted, rank)[0],
    }
    return {
        **{"side": side, "aspect": aspect, "count": count, "rank": rank},
        "seconds": {name: float(f"{median(values):.4g}") for name, values in found.items()},
        "passes": {name: bool(np.all(ops.convert_to_numpy(each))) for name, each in passes.items()},
    }


def ratio(rows: Iterable[Mapping], engine: str, other: str) -> float:
    """Returns how many times as long one thing takes as another one: the geometric mean; infinity where it was not timed."""
    pairs = [(row["seconds"].get(engine), row["seconds"].get(other)) for row in rows]
    logs = [math.log(one / two) for one, two in pairs if one is not None and two is not None]
    return math.exp(sum(logs) / len(logs)) if logs else math.inf


def thresholds(rows: Sequence[Mapping]) -> dict:
    """Derives the thresholds of `engine="auto"`.

    Args:
        rows: What `measure` has returned.

    Returns:
        `svd_up_to`: the smaller side up to which `"svd"` is faster than `"gram"` when there is no basis to begin at, or 0;
        `subspace_from`: the one from which on `"subspace"` is the fastest when there is; `randomized_below`: the share of the
        smaller side below which ranks are faster by `"randomized"` than by `"gram"` where its test passes, or 0.
    """
    sides = {side: [row for row in rows if row["side"] == side] for side in sorted({row["side"] for row in rows})}
    svd_up_to = 0
    for side, some in sides.items():
        if ratio(some, "flat svd", "flat gram") > 1:
            break
        svd_up_to = side
    subspace_from = 2 * max(sides)
    for side, some in reversed(sides.items()):
        if ratio(some, "low gram", "low subspace") < 1 or ratio(some, "low svd", "low subspace") < 1:
            break
        subspace_from = side
    shares = by_share(rows)
    faster = [share for share, some in shares.items() if ratio(some, "low randomized", "low gram") < 1]
    slower = [share for share in shares if share not in faster]
    below = 0.0
    if faster and (not slower or min(faster) < min(slower)):
        last = max(share for share in faster if not slower or share < min(slower))
        below = math.sqrt(last * min(slower)) if slower else last
    return {"svd_up_to": svd_up_to, "subspace_from": subspace_from, "randomized_below": round(below, 3)}


def by_share(rows: Iterable[Mapping]) -> dict[float, list[Mapping]]:
    """Returns the rows that tell about `"randomized"`, by the share that the rank has of the smaller side."""
    some = [row for row in rows if row["side"] >= _LEAST_SIDE and row["passes"]["randomized"]]
    shares = sorted({row["rank"] / row["side"] for row in some})
    return {share: [row for row in some if row["rank"] / row["side"] == share] for share in shares}


def key(machine: Mapping) -> str:
    """Returns the name under which thresholds are kept, such as `"tensorflow/cpu"`."""
    return f"{machine['backend']}/{machine['kind']}"


def read(path: pathlib.Path) -> dict:
    """Returns what a file holds; nothing where there is none."""
    return json.loads(path.read_text()) if path.exists() else {}


def write_thresholds(path: pathlib.Path, name: str, found: dict) -> None:
    """Writes thresholds into a file, beside those of others."""
    content = json.dumps(dict(sorted({**read(path), name: found}.items())), indent=1)
    write_atomically(path, f"{content}\n".encode())


def write_rows(path: pathlib.Path, name: str, machine: Mapping, found: dict, rows: Sequence[Mapping]) -> None:
    """Writes all times into a file, beside those of others."""
    content = {**read(path), name: {**machine, "dtype": DTYPE, "thresholds": found, "rows": list(rows)}}
    parts = []
    for each, value in sorted(content.items()):
        head = json.dumps({**value, "rows": []}).removesuffix("]}")
        parts.append(f"{json.dumps(each)}: {head}\n" + ",\n".join(map(json.dumps, value["rows"])) + "\n]}")
    write_atomically(path, ("{\n" + ",\n".join(parts) + "\n}\n").encode())


def tables(content: Mapping[str, Mapping]) -> str:
    """Returns the thresholds and the times of all machines as tables."""
    parts = []
    for machine in content.values():
        rows, found = machine["rows"], machine["thresholds"]
        chosen = ", ".join(f"`{name}` {value:g}" for name, value in found.items())
        parts.append(f"{NAMES[machine['backend']]} on {machine['device']}, {machine['dtype']}: {chosen}.\n")
        pairs = [("flat svd", "flat gram"), ("low subspace", "low gram"), ("low subspace", "low svd")]
        lines = []
        for side in sorted({row["side"] for row in rows}):
            some = [row for row in rows if row["side"] == side]
            lines.append([str(side), *(_times(ratio(some, *pair)) for pair in pairs)])
        parts.append(
            table(["smaller side", "`svd` / `gram`, cold:", "`subspace` / `gram`, warm:", "`subspace` / `svd`, warm:"], lines)
        )
        shares = by_share(rows)
        pairs = [("low randomized", "low gram"), ("flat randomized", "flat gram")]
        lines = [[f"{share:.3g}", *(_times(ratio(some, *pair)) for pair in pairs)] for share, some in shares.items()]
        if lines:
            parts.append(
                table(["rank / smaller side", "`randomized` / `gram`, low rank:", "`randomized` / `gram`, flat:"], lines)
            )
    return "\n".join(parts)


def _times(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "-"


def main(argv):
    """Measures, and writes what is asked for."""
    del argv
    rows_path = pathlib.Path(_ROWS.value) if _ROWS.value else None
    if _REPORT.value:
        write_sections(PAGE, {"engines": tables(read(rows_path or PAGE.parent / "engines.json"))})
        return
    rows = []
    for each in tqdm(configurations([int(side) for side in _SIDES.value])):
        with_svd = each["side"] <= _SVD_UP_TO.value
        rows.append(measure(**each, with_svd=with_svd, rounds=_ROUNDS.value, seconds=_SECONDS.value))
        keras.utils.clear_session(free_memory=False)
    machine, found = environment(), thresholds(rows)
    print(json.dumps({key(machine): found}, indent=1))
    if _OUTPUT.value:
        write_thresholds(pathlib.Path(_OUTPUT.value), key(machine), found)
    if rows_path:
        write_rows(rows_path, key(machine), machine, found, rows)


if __name__ == "__main__":
    _OUTPUT = flags.DEFINE_string("output", None, "JSON file of thresholds to write; those of other backends and devices stay.")
    _ROWS = flags.DEFINE_string("rows", None, "JSON file of all times to write, or to report from.")
    _REPORT = flags.DEFINE_bool("report", False, "Measure nothing; write the page's table from the file of all times.")
    _SIDES = flags.DEFINE_list("sides", [str(side) for side in SIDES], "Smaller sides of the matrices.")
    _SVD_UP_TO = flags.DEFINE_integer("svd_up_to", 256, "Largest side to time `svd` at; it takes long, and only gets slower.")
    _ROUNDS = flags.DEFINE_integer("rounds", 5, "Least number of rounds.", lower_bound=1)
    _SECONDS = flags.DEFINE_float("seconds", 0.2, "Rounds go on for about that many seconds.")
    app.run(main)
