"""What the benchmarks share: timing in turns, peak memory, the name of the machine, and the tables of a page."""

import contextlib
import ctypes
import gc
import importlib.metadata
import os
import pathlib
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from lrpet_tf.errors import LowRankError
from lrpet_tf.files import write_atomically

NAMES = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}
# `M_MMAP_THRESHOLD` of mallopt(3), and what it is set to: larger blocks go back to the system as soon as they are free.
_MMAP_THRESHOLD, _MMAP_BYTES = -3, 65536


def accelerator() -> str | None:
    """Returns the name of the GPU, or other accelerator, that the backend computes on; `None` for a CPU."""
    if keras.backend.backend() == "jax":
        import jax

        device = jax.devices()[0]
        return None if device.platform == "cpu" else device.device_kind
    if keras.backend.backend() == "torch":
        import torch

        return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    import tensorflow as tf

    found = tf.config.list_physical_devices("GPU")
    return tf.config.experimental.get_device_details(found[0]).get("device_name", "GPU") if found else None


def environment() -> dict:
    """Returns what figures depend on: the backend, the kind of device and its name, the processor cores, and the versions."""
    backend, found = keras.backend.backend(), accelerator()
    info = pathlib.Path("/proc/cpuinfo")
    model = re.search(r"model name\s*:\s*(.*)", info.read_text()) if info.exists() else None
    processor = model[1].strip() if model else platform.processor() or platform.machine()
    return {
        "backend": backend,
        "kind": "gpu" if found else "cpu",
        "device": found or processor,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "versions": {name: importlib.metadata.version(name) for name in ("keras", backend)},
    }


def described(row: Mapping) -> str:
    """Returns the machine of a row, or of an `environment`, in words."""
    versions = ", ".join(f"{NAMES.get(name, name.capitalize())} {version}" for name, version in row["versions"].items())
    return f"{row['device']}, {row['cores']} processor cores, {versions}"


def wait(values: Iterable) -> None:
    """Waits until tensors, or the values of variables, have been computed."""
    if keras.backend.backend() == "jax":
        import jax

        jax.block_until_ready([value.value if isinstance(value, keras.Variable) else value for value in values])
    elif accelerator():
        if keras.backend.backend() == "torch":
            import torch

            torch.cuda.synchronize()
        else:
            import tensorflow as tf

            tf.test.experimental.sync_devices()


class Contestant(NamedTuple):
    """What is timed: `run` waits until its results are there; `prepare` comes before it and does not count."""

    run: Callable
    prepare: Callable = lambda: None


def interleaved(
    contestants: Mapping[str, Contestant], *, rounds: int, seconds: float = 0.0, warm_ups: int = 1
) -> dict[str, list[float]]:
    """Times contestants in turns, so that they share whatever else the machine does.

    Args:
        contestants: What to time, by name.
        rounds: Least number of rounds.
        seconds: Rounds go on for about that long.
        warm_ups: Rounds before that do not count.

    Returns:
        Seconds by name, one for each round.
    """
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(warm_ups):
        for contestant in contestants.values():
            contestant.prepare()
            contestant.run()
    spent = 0.0
    while spent < seconds or len(next(iter(found.values()))) < rounds:
        for name, contestant in contestants.items():
            contestant.prepare()
            with _without_garbage_collection():
                begin = time.perf_counter()
                contestant.run()
                found[name].append(time.perf_counter() - begin)
            spent += found[name][-1]
    return found


@contextlib.contextmanager
def _without_garbage_collection():
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def median(values: Iterable[float]) -> float:
    """Returns the median."""
    return statistics.median(values)


class State:
    """The values that variables have now, to go back to."""

    def __init__(self, variables: Iterable[keras.Variable]):
        self.variables = list(variables)
        self.values = [np.array(ops.convert_to_numpy(variable)) for variable in self.variables]

    def restore(self) -> None:
        """Assigns the values."""
        for variable, value in zip(self.variables, self.values, strict=True):
            # A sum is a new tensor: a function may overwrite that.
            variable.assign(ops.add(value, np.zeros((), value.dtype)))
        wait(self.variables)


def peak_growth(function: Callable) -> int:
    """Returns by how many bytes the memory in use grows at most while a function runs.

    On a GPU it is what the backend's allocator has given out, whose peak since the process began counts on JAX: run the
    function in a fresh process, after it is compiled.

    Args:
        function: Waits until its results are there.

    Raises:
        LowRankError: The system does not tell.
    """
    if accelerator():
        return _peak_growth_on_gpu(function)
    status, clear = pathlib.Path("/proc/self/status"), pathlib.Path("/proc/self/clear_refs")
    if not clear.exists():
        raise LowRankError("Peak memory is read from /proc/self, which Linux alone has.")
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        gc.collect()
        libc.malloc_trim(0)
    clear.write_text("5")  # the peak begins anew: proc(5)
    before = _kilobytes(status, "VmRSS")
    function()
    return 1024 * (_kilobytes(status, "VmHWM") - before)


def give_memory_back() -> None:
    """Lets the C library give large blocks back as soon as they are free; otherwise a peak may hide in what it has kept."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_MMAP_THRESHOLD, _MMAP_BYTES)


def _kilobytes(status: pathlib.Path, name: str) -> int:
    return int(re.search(rf"{name}:\s*(\d+) kB", status.read_text())[1])


def _peak_growth_on_gpu(function) -> int:
    if keras.backend.backend() == "jax":
        import jax

        device = jax.devices()[0]
        before = device.memory_stats()["bytes_in_use"]
        function()
        return device.memory_stats()["peak_bytes_in_use"] - before
    if keras.backend.backend() == "torch":
        import torch

        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        return torch.cuda.max_memory_allocated() - before
    import tensorflow as tf

    tf.config.experimental.reset_memory_stats("GPU:0")
    before = tf.config.experimental.get_memory_info("GPU:0")["current"]
    function()
    return tf.config.experimental.get_memory_info("GPU:0")["peak"] - before


def table(heads: list[str], rows: list[list[str]]) -> str:
    """Returns a Markdown table; heads that end with a colon are those of columns aligned right."""
    names = " | ".join(head.removesuffix(":") for head in heads)
    lines = [f"| {names} |", "| " + " | ".join("---:" if head.endswith(":") else "---" for head in heads) + " |"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def duration(seconds: float) -> str:
    """Returns a duration in three digits."""
    value, unit = (seconds, "s") if seconds >= 1 else (1e3 * seconds, "ms") if seconds >= 1e-3 else (1e6 * seconds, "µs")
    return f"{value:.{max(0, 2 - int(np.floor(np.log10(max(value, 1)))))}f} {unit}"


def replace_section(page: str, name: str, content: str) -> str:
    """Returns a page with other content between `<!-- name: … -->` and `<!-- end of name -->`.

    Raises:
        LowRankError: The page has no such place.
    """
    pattern = re.compile(rf"(<!-- {name}: [^\n]* -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
    if not pattern.search(page):
        raise LowRankError(f"The page has no place '<!-- {name}: … -->' to '<!-- end of {name} -->'.")
    return pattern.sub(lambda found: found[1] + content + found[2], page)


def write_sections(page: pathlib.Path, sections: Mapping[str, str]) -> None:
    """Replaces sections of a page, which is written whole or not at all."""
    text = page.read_text()
    for name, content in sections.items():
        text = replace_section(text, name, content)
    write_atomically(page, text.encode())
