"""Runs a `.tflite` file on samples: the most likely classes, the median latency, and the outputs.

It needs Python 3.10 or newer, `pip install ai-edge-litert numpy`, and nothing else; copy it to the device beside the file:

    python run.py net.tflite samples.npy outputs.npy --threads=2 --labels=labels.txt

`samples.npy` holds the samples along its first axis, as the model takes them in Keras: for an int8 file they are floats all the
same, and this program applies the scale of the file. The outputs come back as floats too.
"""

import argparse
import pathlib
import sys
import time

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def to_tensor(values: np.ndarray, detail: dict) -> np.ndarray:
    """Returns values as the file takes them: integers by its scale and zero point, rounded to the nearest and clipped.

    Args:
        values: Real values, or integers of the file's own type, which are taken as they are.
        detail: What the interpreter tells about the tensor.

    Returns:
        An array of the same shape, and of the tensor's type.
    """
    scale, zero_point = detail["quantization"]
    if values.dtype == detail["dtype"] or not scale:
        return values.astype(detail["dtype"])
    limits = np.iinfo(detail["dtype"])
    rounded = np.rint(values.astype(np.float32) / np.float32(scale)) + zero_point
    return np.clip(rounded, limits.min, limits.max).astype(detail["dtype"])


def to_floats(tensor: np.ndarray, detail: dict) -> np.ndarray:
    """Returns the real values that a tensor of the file stands for, as float32."""
    scale, zero_point = detail["quantization"]
    values = tensor.astype(np.float32)
    return (values - np.float32(zero_point)) * np.float32(scale) if scale else values


class Runner:
    """A `.tflite` file of one input that is ready to run.

    Args:
        path: The file.
        threads: Threads of the interpreter.

    Raises:
        SystemExit: The file has several inputs.
    """

    def __init__(self, path: str, threads: int = 1):
        self._interpreter = Interpreter(model_path=path, num_threads=threads)
        self._interpreter.allocate_tensors()
        inputs = self._interpreter.get_input_details()
        if len(inputs) != 1:
            raise SystemExit(f"{path} takes {len(inputs)} inputs: {', '.join(each['name'] for each in inputs)}. Expected one.")
        self._input = inputs[0]
        self._outputs = self._interpreter.get_output_details()

    def write(self, sample: np.ndarray) -> None:
        """Writes one sample, without its batch axis, to the input.

        Args:
            sample: Real values, or integers of the file's own type.

        Raises:
            SystemExit: The sample is of another shape.
        """
        expected = tuple(self._input["shape"][1:])
        if self._input["shape"][0] != 1 or sample.shape != expected:
            raise SystemExit(f"Expected samples of shape {expected}, one at a time. Received: {sample.shape}")
        self._interpreter.set_tensor(self._input["index"], to_tensor(sample[None], self._input))

    def invoke(self) -> float:
        """Runs the file on what was written, and returns the seconds that it took."""
        start = time.perf_counter()
        self._interpreter.invoke()
        return time.perf_counter() - start

    def read(self) -> list[np.ndarray]:
        """Returns the outputs for the sample, as float32."""
        return [to_floats(self._interpreter.get_tensor(each["index"]), each) for each in self._outputs]


def output_paths(path: pathlib.Path, count: int) -> list[pathlib.Path]:
    """Returns where the outputs go: the path itself, and `name.1.npy`, … for the second output and those after it."""
    return [path, *(path.with_suffix(f".{index}{path.suffix}") for index in range(1, count))]


def describe(scores: np.ndarray, labels: list[str], top: int = 5) -> str:
    """Returns the highest scores with their labels, or their indices where there are no labels."""
    best = np.argsort(-scores, kind="stable")[:top]
    return ", ".join(f"{labels[each] if each < len(labels) else each} {scores[each]:.4f}" for each in best)


def main() -> None:
    """Runs the file on every sample."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="the .tflite file")
    parser.add_argument("samples", help="samples along the first axis, as .npy")
    parser.add_argument("outputs", type=pathlib.Path, help="where the outputs go, as .npy")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=50, help="how often the first sample is run to measure the latency")
    parser.add_argument("--labels", type=pathlib.Path, help="names of the classes, one a line")
    arguments = parser.parse_args()
    labels = arguments.labels.read_text().splitlines() if arguments.labels else []
    samples = np.load(arguments.samples)
    runner = Runner(arguments.model, arguments.threads)
    results = []
    for index, sample in enumerate(samples):
        runner.write(sample)
        runner.invoke()
        results.append(runner.read())
        if index < 3:
            print(f"sample {index}: {describe(results[-1][0].reshape(-1), labels)}")
    if not results:
        sys.exit(f"{arguments.samples} holds no samples.")
    runner.write(samples[0])
    milliseconds = [1e3 * runner.invoke() for _ in range(arguments.runs + 3)][3:]
    print(f"median latency: {np.median(milliseconds):.3f} ms over {arguments.runs} runs, {arguments.threads} threads")
    for path, each in zip(output_paths(arguments.outputs, len(results[0])), zip(*results, strict=True), strict=True):
        np.save(path, np.concatenate(each))


if __name__ == "__main__":
    main()
