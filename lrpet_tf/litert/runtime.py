"""Running `.tflite` files through LiteRT: outputs and latency."""

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lrpet_tf.errors import require
from lrpet_tf.litert.conversion import Converted


def _interpreter(converted: Converted, threads: int):
    runtime = require("ai_edge_litert.interpreter", "ai-edge-litert")
    return runtime.Interpreter(model_content=converted.content, num_threads=threads)


def run(converted: Converted, samples: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Runs a file on samples, one at a time.

    Args:
        converted: The file.
        samples: One array for each input, in the order of `converted.inputs`; the first axis counts the samples.

    Returns:
        One array for each output, in the order of `converted.outputs`.
    """
    runner = _interpreter(converted, 1).get_signature_runner()
    results = []
    for index in range(len(samples[0])):
        sample = {name: array[index : index + 1] for name, array in zip(converted.inputs, samples, strict=True)}
        outputs = runner(**sample)
        results.append([np.array(outputs[name]) for name in converted.outputs])  # copies: the runner reuses its buffers
    return [np.concatenate(output) for output in zip(*results, strict=True)]


def interleaved_latency(
    files: Mapping[str, Converted],
    samples: Sequence[np.ndarray] | None = None,
    *,
    threads: int = 1,
    seconds: float = 3.0,
    least_rounds: int = 5,
    before: Callable[[str], None] = lambda name: None,
    on_round: Callable[[int, int], None] = lambda done, rounds: None,
) -> dict[str, float]:
    """Measures the median latency of files side by side, so that they share whatever else the machine does.

    Args:
        files: The files by name.
        samples: One array for each input, where all files take the same; the first sample is used. Random numbers by default.
        threads: Threads of the interpreter.
        seconds: About how long to measure, after a warm-up. Each file runs up to 500 times.
        least_rounds: How often each file runs at least.
        before: Called with the name of a file before each run of it; its time does not count. The inputs are written after it.
        on_round: Told how many rounds are done, and how many there will be.

    Returns:
        Median latency of one sample in milliseconds, by name.
    """
    runs = {name: _prepare(converted, samples, threads) for name, converted in files.items()}
    for _ in range(3):
        once = sum(_timed(*run) for run in runs.values())
    rounds = int(np.clip(seconds / once, least_rounds, 500))
    times = {name: [] for name in runs}
    for done in range(rounds):
        for name, run in runs.items():
            before(name)
            times[name].append(_timed(*run))
        on_round(done + 1, rounds)
    return {name: 1e3 * float(np.median(values)) for name, values in times.items()}


def _prepare(converted: Converted, samples: Sequence[np.ndarray] | None, threads: int):
    interpreter = _interpreter(converted, threads)
    details = {_signature_name(detail["name"]): detail for detail in interpreter.get_input_details()}
    if samples is None:
        inputs = {name: _random(detail) for name, detail in details.items()}
    else:
        inputs = {name: array[:1] for name, array in zip(converted.inputs, samples, strict=True)}
        for name, array in inputs.items():
            interpreter.resize_tensor_input(details[name]["index"], array.shape)
    interpreter.allocate_tensors()

    def write_inputs() -> None:
        for name, array in inputs.items():
            interpreter.set_tensor(details[name]["index"], array)

    return write_inputs, interpreter.invoke


def _random(detail: Mapping) -> np.ndarray:
    rng, shape, dtype = np.random.default_rng(0), detail["shape"], np.dtype(detail["dtype"])
    return rng.standard_normal(shape).astype(dtype) if dtype.kind == "f" else rng.integers(0, 2, shape).astype(dtype)


def _signature_name(tensor_name: str) -> str:
    return tensor_name.removeprefix("serving_default_").removesuffix(":0")


def _timed(write_inputs: Callable[[], None], invoke: Callable[[], None]) -> float:
    write_inputs()
    start = time.perf_counter()
    invoke()
    return time.perf_counter() - start
