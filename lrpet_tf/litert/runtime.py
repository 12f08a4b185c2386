"""Running `.tflite` files through LiteRT: outputs and latency."""

import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lrpet_tf.errors import TfliteFileError, require
from lrpet_tf.litert.conversion import Converted
from lrpet_tf.litert.flatbuffer import read_content, signature, unpack


def load(path: str | os.PathLike) -> Converted:
    """Reads a `.tflite` file, after checking that it is a whole one which LiteRT can run.

    Args:
        path: The file.

    Returns:
        Its content, and the names of its inputs and outputs by its first signature, or of its tensors where it has none.

    Raises:
        TfliteFileError: There is no such file; it is no LiteRT model, is cut off or damaged; or LiteRT refuses it.
    """
    content = read_content(path)
    inputs, outputs = signature(unpack(content, str(path)))
    found = Converted(content, tuple(inputs), tuple(outputs))
    try:
        Session(found, 1)
    except (RuntimeError, ValueError) as error:
        raise TfliteFileError(path, f"LiteRT refuses it ({' '.join(str(error).split())})") from error
    return found


class Session:
    """A file, loaded into LiteRT's interpreter with memory for its tensors.

    Args:
        converted: The file.
        threads: Threads of the interpreter.
        delegates: Whether XNNPACK may run the operators; LiteRT's own kernels do otherwise.
        keep: Whether every tensor keeps its values, instead of sharing memory.

    Attributes:
        interpreter: The interpreter.
        inputs: What LiteRT tells about each input, by its name.
        outputs: The same for each output.
    """

    def __init__(self, converted: Converted, threads: int = 1, *, delegates: bool = True, keep: bool = False):
        runtime = require("ai_edge_litert.interpreter", "ai-edge-litert")
        kinds = runtime.OpResolverType
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*experimental_preserve_all_tensors")  # it takes memory, as it says
            self.interpreter = runtime.Interpreter(
                model_content=converted.content,
                num_threads=threads,
                experimental_preserve_all_tensors=keep,
                experimental_op_resolver_type=kinds.AUTO if delegates else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            )
        self.interpreter.allocate_tensors()
        self.inputs, self.outputs = self._details()

    def _details(self) -> tuple[dict, dict]:
        if self.interpreter.get_signature_list():
            runner = self.interpreter.get_signature_runner()
            return runner.get_input_details(), runner.get_output_details()
        sides = self.interpreter.get_input_details(), self.interpreter.get_output_details()
        return tuple({detail["name"]: detail for detail in side} for side in sides)

    def resize(self, sample: Mapping[str, np.ndarray]) -> None:
        """Makes room for inputs of other sizes than those before."""
        sizes = {detail["index"]: list(detail["shape"]) for detail in self.interpreter.get_input_details()}
        changed = {name: array for name, array in sample.items() if sizes[self.inputs[name]["index"]] != list(array.shape)}
        for name, array in changed.items():
            self.interpreter.resize_tensor_input(self.inputs[name]["index"], array.shape)
        if changed:
            self.interpreter.allocate_tensors()

    def write(self, sample: Mapping[str, np.ndarray]) -> None:
        """Sets the inputs; floating values for an integer input are quantized as the file says."""
        for name, array in sample.items():
            detail = self.inputs[name]
            self.interpreter.set_tensor(detail["index"], _as_integers(array, detail))

    def read(self) -> dict[str, np.ndarray]:
        """Returns a copy of each output by name; quantized integers as the floating values that they stand for."""
        return {name: _as_floats(self.interpreter.get_tensor(detail["index"]), detail) for name, detail in self.outputs.items()}

    def __call__(self, sample: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the outputs for the inputs of one batch."""
        self.resize(sample)
        self.write(sample)
        self.interpreter.invoke()
        return self.read()


def _as_integers(array: np.ndarray, detail: Mapping) -> np.ndarray:
    scale, zero = detail["quantization"]
    if array.dtype.kind != "f" or not scale:
        return array.astype(detail["dtype"], copy=False)
    limits = np.iinfo(detail["dtype"])
    return np.clip(np.round(array / scale) + zero, limits.min, limits.max).astype(detail["dtype"])


def _as_floats(array: np.ndarray, detail: Mapping) -> np.ndarray:
    scale, zero = detail["quantization"]
    return (array.astype(np.float32) - zero) * np.float32(scale) if scale else array


def samples_of(converted: Converted, samples: Sequence[np.ndarray]):
    """Yields samples one by one, each as an array by the name of its input."""
    for index in range(len(samples[0])):
        yield {name: array[index : index + 1] for name, array in zip(converted.inputs, samples, strict=True)}


def run(converted: Converted, samples: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Runs a file on samples, one at a time.

    Args:
        converted: The file.
        samples: One array for each input, in the order of `converted.inputs`; the first axis counts the samples. Floating ones
            are quantized where the file takes integers.

    Returns:
        One array for each output, in the order of `converted.outputs`; quantized ones as floating values.
    """
    session = Session(converted)
    results = []
    for sample in samples_of(converted, samples):
        outputs = session(sample)
        results.append([outputs[name] for name in converted.outputs])
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
    session = Session(converted, threads)
    if samples is None:
        inputs = {name: _random(detail) for name, detail in session.inputs.items()}
    else:
        inputs = next(samples_of(converted, samples))
        session.resize(inputs)
        inputs = {name: _as_integers(array, session.inputs[name]) for name, array in inputs.items()}
    return lambda: session.write(inputs), session.interpreter.invoke


def _random(detail: Mapping) -> np.ndarray:
    rng, shape, dtype = np.random.default_rng(0), detail["shape"], np.dtype(detail["dtype"])
    return rng.standard_normal(shape).astype(dtype) if dtype.kind == "f" else rng.integers(0, 2, shape).astype(dtype)


def _timed(write_inputs: Callable[[], None], invoke: Callable[[], None]) -> float:
    write_inputs()
    start = time.perf_counter()
    invoke()
    return time.perf_counter() - start
