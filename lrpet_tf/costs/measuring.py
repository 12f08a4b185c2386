"""Measuring a latency table on this machine."""

import os
import pathlib
import platform
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping

import keras
import numpy as np

from lrpet_tf import decompositions
from lrpet_tf.adapters import Adapter, check_adapters
from lrpet_tf.costs.latency import LatencyTable
from lrpet_tf.costs.micro import MODEL, micro_models, model_key
from lrpet_tf.costs.size import BYTES_PER_WEIGHT
from lrpet_tf.errors import LowRankError, require
from lrpet_tf.graph import in_float32, read_graph
from lrpet_tf.litert import Converted, convert, interleaved_latency

# Files that are timed in turns stay in memory together, up to this many bytes.
_BATCH_BYTES = 400_000_000
# In a whole model the weights of the other layers pass through the caches between two runs of a layer. Before each run as many
# bytes as the model has are read, up to this many: more than the caches next to a core hold.
_EVICTED_BYTES = 16_000_000


def measure_latency(
    model: keras.Model,
    *,
    quantize: str | None = None,
    threads: int = 1,
    decomposition: str = "channel",
    plans: Iterable[Mapping] = (),
    cache: str | os.PathLike | None = "default",
    seconds: float = 10.0,
    verbose: bool = True,
    adapters: Mapping[type, Adapter] | None = None,
) -> LatencyTable:
    """Times each distinct layer of a model as a small LiteRT model, dense and factorized at the ranks that matter.

    The small models and the whole dense model run in turns on this machine, so that they share whatever else it does; a table
    holds the medians. What the cache holds already is not measured again. The weights play no part.

    Args:
        model: A built Functional or Sequential model of fixed input size.
        quantize: `None` for float32, or `"int8"`.
        threads: Threads of the interpreter.
        decomposition: The form to measure; `"auto"` measures all.
        plans: Plans whose ranks are measured as well.
        cache: JSON file that keeps the table; `"default"` is a file of the device's in the user's cache folder, `None` measures
            everything anew in one run.
        seconds: About how long to run the small models, beside the time to convert them.
        verbose: Whether to show a progress bar.
        adapters: Adapters of layers of your own, by class: see docs/adapters.md.

    Returns:
        The table of this device.

    Warns:
        UserWarning: The cache could not be written.

    Raises:
        LowRankError: The input size is unknown, or `quantize` or `threads` is out of range.
        ExportError: The backend is not TensorFlow: measure in a TensorFlow process, save the table, and load it here.
        UnsupportedModelError: The model is subclassed, or not built.
    """
    if quantize not in (None, "int8") or threads < 1:
        raise LowRankError(
            f"`quantize` must be None or 'int8', and `threads` at least 1. Received: quantize={quantize!r}, threads={threads!r}"
        )
    graph = read_graph(model, check_adapters(adapters))
    table, path = _open(cache, quantize, threads)
    extra: dict[str, list[tuple[str, int]]] = {}
    for plan in plans:
        for layer_path in plan:
            extra.setdefault(layer_path, []).append((plan[layer_path].decomposition, plan[layer_path].rank))
    wanted = {model_key(graph): lambda: in_float32(model)}
    wanted |= {micro.key: micro.build for micro in micro_models(graph, decompositions.choices(decomposition), extra)}
    missing = {key: build for key, build in wanted.items() if key not in table.milliseconds}
    weights = BYTES_PER_WEIGHT[quantize] * model.count_params()
    if missing:
        table = table.merged(_measure(missing, weights, quantize, threads, seconds, verbose))
        if path is not None:
            _keep(table, path)
    return table


def _measure(builders: Mapping, weights: int, quantize, threads: int, seconds: float, verbose: bool) -> dict[str, float]:
    """Measures models; `weights` is the size in bytes of the weights of the model whose layers they are."""
    progress = keras.utils.Progbar(2 * len(builders), verbose=int(verbose), unit_name="model")
    found: dict[str, float] = {}
    others = np.ones(min(_EVICTED_BYTES, weights) // 4, np.float32)

    def evict(key: str) -> None:
        if not key.startswith(MODEL):
            others.sum()

    for batch in _batches(builders, quantize, progress):
        share, begun = len(batch) / len(builders), len(found)

        def show(done: int, rounds: int, batch=batch, begun=begun) -> None:
            at = len(batch) * done // rounds
            if at and verbose:
                progress.update(progress.target // 2 + begun + at)

        options = {"threads": threads, "seconds": seconds * share, "least_rounds": 20}
        found |= interleaved_latency(batch, **options, before=evict, on_round=show)
    return found


def _batches(builders: Mapping, quantize, progress) -> Iterator[dict[str, Converted]]:
    batch, size = {}, 0
    for key, build in builders.items():
        batch[key] = convert(build(), quantize=quantize)
        size += len(batch[key].content)
        progress.add(1)
        if size > _BATCH_BYTES:
            yield batch
            batch, size = {}, 0
    if batch:
        yield batch


def _open(cache, quantize: str | None, threads: int) -> tuple[LatencyTable, pathlib.Path | None]:
    """Returns the table to begin with, and where to save it."""
    empty = LatencyTable(device_name(), quantize, threads, {})
    if cache is None:
        return empty, None
    path = _default_path(empty) if cache == "default" else pathlib.Path(cache)
    if not path.exists():
        return empty, path
    try:
        table = LatencyTable.load(path)
    except LowRankError as error:
        raise LowRankError(f"{error} Received: cache='{path}'. Delete the file to measure anew, or give cache=None.") from error
    if (table.device, table.quantize, table.threads) != (empty.device, quantize, threads):
        raise LowRankError(
            f"Expected a table of {empty.device}, {quantize or 'float32'}, {threads} threads in '{path}'. Received: one of "
            f"{table.device}, {table.quantize or 'float32'}, {table.threads} threads. Give another file as cache=, or load "
            "that table with LatencyTable.load to use it as it is."
        )
    return table, path


def _keep(table: LatencyTable, path: pathlib.Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        table.save(path)
    except OSError as error:  # what was measured is not thrown away for that
        warnings.warn(f"The latency table could not be kept in '{path}': {error}. Give another cache=, or None.", stacklevel=3)


def _default_path(table: LatencyTable) -> pathlib.Path:
    root = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    name = f"{table.device}-{table.quantize or 'float32'}-{table.threads}"
    return pathlib.Path(root) / "lrpet_tf" / f"latency-{re.sub(r'[^A-Za-z0-9.]+', '-', name)}.json"


def device_name() -> str:
    """Returns this machine's processor and the version of the LiteRT runtime, which latencies depend on."""
    info = pathlib.Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.*)", info.read_text()) if info.exists() else None
    processor = found[1].strip() if found else platform.processor() or platform.machine()
    return f"{processor}, LiteRT {require('ai_edge_litert', 'ai-edge-litert').__version__}"
