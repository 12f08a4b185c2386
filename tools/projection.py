"""Measures what a projection costs, and writes the tables of `docs/performance.md` and the picture `docs/projection.png`.

    python tools/projection.py                                             # all, on the backend of KERAS_BACKEND
    KERAS_BACKEND=jax python tools/projection.py --models=resnet50         # on a GPU too, where the backend finds one
    python tools/projection.py --benchmarks=plain,limit --models=resnet56
    python tools/projection.py --report                                    # the page and the picture, from what was measured

Each row is written to `docs/projection.json` as soon as it is there; rows of other backends and devices stay. What is compared
runs in turns, and medians count. Leave the machine alone meanwhile. `--benchmarks=plain` compares with PyTorch too and needs it
(`pip install torch`), unless told `--notorch`.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import dataclasses
import gc
import json
import math
import multiprocessing
import pathlib
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import keras
import numpy as np
from absl import app, flags
from keras import layers, ops

import lrpet_tf as lrpet
from examples.cifar10 import data as cifar10
from examples.cifar10 import models
from lrpet_tf.adapters import batch_norm
from lrpet_tf.errors import require
from lrpet_tf.files import write_atomically
from lrpet_tf.report.plots import new_figure, write_picture
from lrpet_tf.training.batches import Target
from lrpet_tf.training.compiling import compiled
from tools.measuring import (
    NAMES,
    Contestant,
    State,
    described,
    duration,
    environment,
    give_memory_back,
    interleaved,
    median,
    peak_growth,
    table,
    wait,
    write_sections,
)

DOCS = pathlib.Path(__file__).parents[1] / "docs"
BENCHMARKS = ("plain", "limit", "training", "memory", "growth")
RANK = 0.5
# By how much of its norm random noise moves a kernel between two projections, about what a step of SGD does.
MOVE = 0.002
# Steps of training, each with a projection, before a projection between steps is timed.
SETTLING = 10
PERIOD = 20


def _resnet50() -> keras.Model:
    base = keras.applications.ResNet50(weights=None, include_top=False, pooling="avg", input_shape=(224, 224, 3))
    return keras.Model(base.inputs, layers.Dense(1000, name="logits")(base.output), name="resnet50")


def vit(*, image: int, patch: int, width: int, depth: int, heads: int, mlp: int, classes: int) -> keras.Model:
    """Builds a vision transformer (Dosovitskiy et al. 2021, arXiv 2010.11929) of stock layers, with average pooling.

    Args:
        image: Height and width of the images.
        patch: Those of a patch.
        width: Width of the tokens.
        depth: Number of blocks.
        heads: Number of heads, which share the width.
        mlp: Width inside of a block's perceptron.
        classes: Number of logits.
    """
    inputs = keras.Input((image, image, 3), name="image")
    x = layers.Conv2D(width, patch, strides=patch, name="patches")(inputs)
    x = layers.Reshape(((image // patch) ** 2, width), name="tokens")(x)
    for block in range(1, depth + 1):
        y = layers.LayerNormalization(epsilon=1e-6, name=f"block{block}_norm1")(x)
        x = layers.Add()([x, layers.MultiHeadAttention(heads, width // heads, name=f"block{block}_attention")(y, y)])
        y = layers.LayerNormalization(epsilon=1e-6, name=f"block{block}_norm2")(x)
        y = layers.Dense(mlp, activation="gelu", name=f"block{block}_mlp1")(y)
        x = layers.Add()([x, layers.Dense(width, name=f"block{block}_mlp2")(y)])
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization(epsilon=1e-6, name="norm")(x))
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name="vit")


def _sgd():
    return keras.optimizers.SGD(0.1, momentum=0.9)


@dataclasses.dataclass(frozen=True)
class Spec:
    """A model to measure with; its classifier is called `logits` and left as it is.

    Attributes:
        title: Its name in the tables.
        build: Builds it.
        batch: Images of a training step.
        few: Images of the training steps between which a projection is timed against the plain way.
        steps: Training steps that are timed in one block.
        optimizer: Makes its optimizer.
    """

    title: str
    build: Callable[[], keras.Model]
    batch: int = 128
    few: int = 128
    steps: int = PERIOD
    optimizer: Callable[[], keras.optimizers.Optimizer] = _sgd


MODELS = {
    "resnet20": Spec("ResNet-20", lambda: models.resnet(20)),
    "resnet56": Spec("ResNet-56", lambda: models.resnet(56)),
    "resnet50": Spec("ResNet-50", _resnet50, batch=32, few=8, steps=2),
    "vit_s": Spec(
        "ViT-S/16",
        lambda: vit(image=224, patch=16, width=384, depth=12, heads=6, mlp=1536, classes=1000),
        batch=32,
        few=8,
        steps=2,
        optimizer=lambda: keras.optimizers.AdamW(1e-4),
    ),
}


@dataclasses.dataclass(frozen=True)
class Row:
    """What one benchmark has measured with one model on one device.

    Attributes:
        benchmark: One of `BENCHMARKS`.
        model: One of `MODELS`, or nothing where it makes its own.
        backend: Keras's backend.
        kind: `"cpu"` or `"gpu"`.
        device: Name of the device.
        cores: Number of processor cores.
        versions: Versions of Keras and the backend.
        seconds: Times by what was timed, one for each round.
        figures: What else there is to know.
    """

    benchmark: str
    model: str
    backend: str
    kind: str
    device: str
    cores: int
    versions: dict[str, str]
    seconds: dict[str, list[float]]
    figures: dict

    @property
    def key(self) -> tuple:
        """What a later measurement replaces."""
        return self.backend, self.device, self.benchmark, self.model

    @property
    def title(self) -> str:
        """The name of the model in the tables."""
        return MODELS[self.model].title if self.model in MODELS else self.model

    def median(self, name: str) -> float:
        """Returns the median of the times of one thing."""
        return median(self.seconds[name])


@dataclasses.dataclass(frozen=True)
class Settings:
    """How long to measure, and how.

    Attributes:
        rounds: Least number of rounds.
        seconds: Rounds go on for about that long.
        blocks: Blocks of training steps of each kind.
        batch: Images of a training step; `None` for what the model has.
        torch: Whether to compare with PyTorch.
        data_dir: Folder of the prepared CIFAR-10 for the models of its size; random images otherwise.
    """

    rounds: int = 7
    seconds: float = 10.0
    blocks: int = 5
    batch: int | None = None
    torch: bool = True
    data_dir: str | None = None


class Subject:
    """A model with a plan, its projector, and images to train it on."""

    def __init__(self, spec: Spec, data_dir: str | None = None):
        keras.utils.set_random_seed(0)
        self.spec = spec
        self.data_dir = data_dir
        self.model = self.new_model(spec.optimizer())
        self.model.optimizer.build(self.model.trainable_variables)
        self.plan = lrpet.make_plan(self.model, RANK, exclude="logits", keep_if_no_gain=True)
        self.projector = lrpet.Projector(self.model, self.plan)
        self.kernels = [target.adapter.kernel(target.layer) for target in self.projector.targets]
        self.starts = [start for batch in self.projector.batches for start in batch.starts]
        self._noise = keras.random.SeedGenerator(0)

    def new_model(self, optimizer: keras.optimizers.Optimizer) -> keras.Model:
        """Returns the model anew, compiled with an optimizer."""
        model = self.spec.build()
        model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    @property
    def variables(self) -> list[keras.Variable]:
        """All that trainings and projections change."""
        return [*self.model.variables, *self.model.optimizer.variables, *self.starts]

    def figures(self) -> dict:
        """Returns the number of kernels and the bytes of all, and of the largest group of one shape and rank."""
        groups: dict[tuple, int] = {}
        for target in self.projector.targets:
            groups[target.form] = groups.get(target.form, 0) + 4 * math.prod(target.form[0])
        return {"layers": len(self.kernels), "weights": sum(groups.values()), "largest_group": max(groups.values())}

    def project(self) -> None:
        """Projects, and waits until it is done."""
        self.projector.project()
        wait(self.projector.writes)

    def move(self) -> None:
        """Moves each kernel by random noise."""
        for kernel in self.kernels:
            noise = keras.random.normal(kernel.shape, seed=self._noise)
            kernel.assign(kernel + MOVE * ops.sqrt(ops.mean(ops.square(kernel))) * noise)
        wait(self.kernels)

    def lose_starts(self) -> None:
        """Makes the next projection begin at a wrong place, as if the kernels had moved far."""
        for start in self.starts:
            start.assign(keras.random.normal(start.shape, seed=self._noise) / math.sqrt(start.shape[-2]))
        wait(self.starts)

    def images(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns images and labels."""
        rng = np.random.default_rng(0)
        if self.data_dir is not None and self.model.input_shape[1:] == (32, 32, 3):
            images, labels = cifar10.load(f"train[:{count}]", self.data_dir)
            return cifar10.normalise(images), labels
        images = rng.standard_normal((count, *self.model.input_shape[1:]), "float32")
        return images, rng.integers(0, self.model.output_shape[-1], count)

    def train(self, images, labels) -> None:
        """Makes one step of training."""
        self.model.train_on_batch(images, labels)
        wait(self.variables)

    def moved_since(self, state: State) -> float:
        """Returns by how much of its norm a kernel has moved: the mean over the kernels."""
        before = {id(variable): value for variable, value in zip(state.variables, state.values, strict=True)}
        pairs = [(ops.convert_to_numpy(kernel), before[id(kernel)]) for kernel in self.kernels]
        return float(np.mean([np.linalg.norm(now - then) / np.linalg.norm(then) for now, then in pairs]))


def ours(subject: Subject) -> tuple[dict[str, Contestant], dict]:
    """Returns the projections to time, and figures about them.

    Args:
        subject: The model.

    Returns:
        By name: `cold`, the first of a training; `warm`, after a little noise; `between steps` of training; `fallback`, which
        cannot begin at the last one's subspaces. And the seconds of the very first call, which compiles, and by how much a step
        moves a kernel.
    """
    initial = State(subject.variables)
    begin = time.perf_counter()
    subject.project()
    figures = {**subject.figures(), "first_call": time.perf_counter() - begin}
    subject.move()
    subject.project()
    settled = State([*subject.kernels, *subject.starts])

    initial.restore()
    images, labels = (np.array_split(each, SETTLING + 1) for each in subject.images((SETTLING + 1) * subject.spec.few))
    for batch in zip(images[1:], labels[1:], strict=True):
        subject.train(*batch)
        subject.project()
    trained = State(subject.variables)
    subject.train(images[0], labels[0])
    figures |= {"moved": MOVE, "moved_by_step": subject.moved_since(trained)}

    return {
        "cold": Contestant(subject.project, initial.restore),
        "warm": Contestant(subject.project, _all(settled.restore, subject.move)),
        "between steps": Contestant(subject.project, _all(trained.restore, lambda: subject.train(images[0], labels[0]))),
        "fallback": Contestant(subject.project, _all(settled.restore, subject.move, subject.lose_starts)),
    }, figures


def _all(*functions: Callable) -> Callable:
    def call():
        for function in functions:
            function()

    return call


def plain_keras(targets: Sequence[Target]) -> Callable:
    """Returns a function that projects kernels one by one: SVD, energy transfer, recomposition, assignment."""

    def project():
        for target in targets:
            kernel, rank = target.adapter.read(target.layer), target.planned.rank
            gain = ops.ones(kernel.shape[-1]) if target.batch_norm is None else batch_norm.gain(target.batch_norm)
            left, values, right = ops.svd(ops.reshape(kernel, (-1, kernel.shape[-1])) * gain, full_matrices=False)
            squares = ops.square(values)
            kept = values[:rank] * ops.sqrt(ops.sum(squares) / ops.sum(squares[:rank]))
            low = ops.matmul(left[:, :rank] * kept, right[:rank]) / gain
            target.adapter.write(target.layer, ops.reshape(low, kernel.shape))
        wait([target.adapter.kernel(target.layer) for target in targets])

    if keras.backend.backend() == "torch":
        return require("torch", "torch").no_grad()(project)
    return project


class PlainTorch:
    """The same in PyTorch, on copies of the kernels `(out, in·height·width)`, on its GPU if it has one.

    Attributes:
        weights: The copies.
    """

    def __init__(self, targets: Sequence[Target]):
        self._torch = require("torch", "torch")
        self._targets = targets
        self.copy()

    def copy(self) -> None:
        """Copies the kernels, and the scales of their batch norms, as they are now."""
        torch = self._torch
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.weights, self._gains = [], []
        for target in self._targets:
            kernel = ops.convert_to_numpy(target.adapter.read(target.layer))
            gain = np.ones(kernel.shape[-1], kernel.dtype)
            if target.batch_norm is not None:
                gain = ops.convert_to_numpy(batch_norm.gain(target.batch_norm))
            self.weights.append(torch.tensor(kernel.reshape(-1, kernel.shape[-1]).T, device=device).contiguous())
            self._gains.append(torch.tensor(gain, device=device)[:, None])
        self._wait()

    def project(self) -> None:
        """Projects the kernels one by one."""
        torch = self._torch
        with torch.no_grad():
            for weight, gain, target in zip(self.weights, self._gains, self._targets, strict=True):
                rank = target.planned.rank
                left, values, right = torch.linalg.svd(weight * gain, full_matrices=False)
                squares = values.square()
                kept = values[:rank] * torch.sqrt(squares.sum() / squares[:rank].sum())
                weight.copy_((left[:, :rank] * kept) @ right[:rank] / gain)
        self._wait()

    def _wait(self):
        if self._torch.cuda.is_available():
            self._torch.cuda.synchronize()


def two_products(subject: Subject) -> Callable:
    """Returns a compiled function of the two products that no projection does without, for all kernels of a model.

    They are the Gram matrix over the smaller side, and the kernel times a square matrix of that side.
    """

    def products():
        found = []
        for target in subject.projector.targets:
            kernel = target.adapter.read(target.layer)
            matrix = ops.reshape(kernel, (-1, kernel.shape[-1]))
            is_tall = matrix.shape[0] > matrix.shape[1]
            gram = ops.matmul(ops.transpose(matrix), matrix) if is_tall else ops.matmul(matrix, ops.transpose(matrix))
            found += [gram, ops.matmul(matrix, gram) if is_tall else ops.matmul(gram, matrix)]
        return found

    function = compiled(products, subject.kernels, [])
    return lambda: wait(function())


def measure_plain(spec: Spec, settings: Settings) -> tuple[dict, dict]:
    """Times projections against one SVD for each kernel; returns seconds and figures of a row."""
    subject = Subject(spec, settings.data_dir)
    targets = subject.projector.targets
    contestants, figures = ours(subject)
    for state in ("cold", "warm"):
        prepare = contestants[state].prepare
        contestants[f"keras.ops.svd, {state}"] = Contestant(plain_keras(targets), prepare)
        if settings.torch:
            torch = PlainTorch(targets)
            contestants[f"torch.linalg.svd, {state}"] = Contestant(torch.project, _all(prepare, torch.copy))
    return interleaved(contestants, rounds=settings.rounds, seconds=settings.seconds), figures


def measure_limit(spec: Spec, settings: Settings) -> tuple[dict, dict]:
    """Times projections against the two products alone; returns seconds and figures of a row."""
    subject = Subject(spec, settings.data_dir)
    contestants, figures = ours(subject)
    contestants["products"] = Contestant(two_products(subject))
    return interleaved(contestants, rounds=settings.rounds, seconds=settings.seconds), figures


class Clock(keras.callbacks.Callback):
    """Times the steps of a training after the first one, and what another callback does at their ends.

    Attributes:
        seconds: Of all the steps.
        inner_seconds: Of the other callback, a part of those.
    """

    def __init__(self, steps: int, inner: keras.callbacks.Callback | None = None):
        super().__init__()
        self._steps, self._inner = steps, inner

    def on_train_batch_end(self, batch, logs=None) -> None:
        """Reads the clock."""
        if batch == 0:
            self.inner_seconds = 0.0
        if self._inner is not None:
            wait(self.model.variables)
            begin = time.perf_counter()
            self._inner.on_train_batch_end(batch, logs)
            wait(self.model.variables)
            self.inner_seconds += time.perf_counter() - begin if batch else 0.0
        if batch in (0, self._steps):
            wait(self.model.variables)
            self._begin, self.seconds = time.perf_counter(), time.perf_counter() - getattr(self, "_begin", 0.0)


class Training:
    """Blocks of training steps by one compiled model, with or without a callback.

    Attributes:
        seconds: Those of a step, the mean of each block.
        projecting: Those of a projection by the callback, the mean of each block.
    """

    def __init__(self, model: keras.Model, steps: int, callback: keras.callbacks.Callback | None = None, every: int = 1):
        self._model, self._steps, self._every = model, steps, every
        self._clock = Clock(steps, callback)
        self.seconds: list[float] = []
        self.projecting: list[float] = []
        if callback is not None:
            callback.set_model(model)
            callback.set_params({"epochs": 1, "steps": steps + 1, "verbose": 0})
            callback.on_train_begin()
            callback.on_epoch_begin(0)

    def run(self, images, labels) -> None:
        """Trains for one step, which does not count, and for a block of steps."""
        iterations = self._model.optimizer.iterations
        iterations.assign(PERIOD * math.ceil(int(ops.convert_to_numpy(iterations)) / PERIOD))  # so that all blocks are alike
        batch = len(images) // (self._steps + 1)
        self._model.fit(images, labels, batch_size=batch, shuffle=False, verbose=0, callbacks=[self._clock])
        self.seconds.append(self._clock.seconds / self._steps)
        self.projecting.append(self._clock.inner_seconds / (self._steps // self._every))


def measure_training(spec: Spec, settings: Settings) -> tuple[dict, dict]:
    """Times training steps with and without projections; returns seconds and figures of a row."""
    subject = Subject(spec, settings.data_dir)
    batch = settings.batch or spec.batch
    trainings = {"dense": Training(subject.model, spec.steps)}
    for every in (1, PERIOD) if spec.steps >= PERIOD else (1,):
        callback = lrpet.LRPETCallback(plan=subject.plan, every=every)
        trainings[f"callback {every}"] = Training(subject.model, spec.steps, callback, every)
        if hasattr(lrpet, "ProjectingOptimizer"):
            optimizer = lrpet.ProjectingOptimizer(spec.optimizer(), subject.plan, every=every)
            trainings[f"optimizer {every}"] = Training(subject.new_model(optimizer), spec.steps)
    images, labels = subject.images((spec.steps + 1) * batch)
    contestants = {
        name: Contestant(lambda training=training: training.run(images, labels)) for name, training in trainings.items()
    }
    contestants["fallback"] = Contestant(subject.project, subject.lose_starts)
    seconds = {"fallback": interleaved(contestants, rounds=settings.blocks)["fallback"]}
    for name, training in trainings.items():
        seconds[name] = training.seconds[1:]  # the first block has compiled
        if name.startswith("callback"):
            seconds[f"{name}, projecting"] = training.projecting[1:]
    return seconds, {**subject.figures(), "batch": batch, "steps": spec.steps}


def measure_memory(name: str) -> tuple[dict, dict]:
    """Measures how much memory a warm projection takes; returns seconds, of which there are none, and figures of a row."""
    give_memory_back()
    subject = Subject(MODELS[name])
    growths = []
    for round_ in range(5):
        subject.move()
        if round_ < 2:
            subject.project()
        else:
            growths.append(peak_growth(subject.project))
    return {}, {**subject.figures(), "growth": max(growths)}


def _apart(function: Callable, *args):
    """Calls a function in a process of its own, in which TensorFlow keeps no memory for later, as it does with oneDNN."""
    context = multiprocessing.get_context("spawn")
    with mock.patch.dict(os.environ, TF_ENABLE_ONEDNN_OPTS="0"), ProcessPoolExecutor(1, context) as pool:
        return pool.submit(function, *args).result()


SWEEPS = {
    "size": [{"size": size, "rank": size // 2, "layers": 1} for size in (16, 32, 64, 128, 256, 512)],
    "rank": [{"size": 256, "rank": rank, "layers": 1} for rank in (8, 16, 32, 64, 128, 192)],
    "layers": [{"size": 64, "rank": 32, "layers": count} for count in (1, 2, 4, 8, 16, 32, 64)],
}


def multiply_adds(size: int, rank: int, layers: int, *, warm: bool) -> float:
    """Returns about how many multiply-adds it takes to project kernels of `9 · size` rows and `size` columns."""
    rows = 9 * size
    applied = min(2 * rows * size * rank, rows * size**2 + size**2 * rank)
    found = size**2 * rank + 7 * size * rank**2 if warm else 9 * size**3 + size**2 * rank
    return layers * (rows * size**2 + applied + found)


def measure_growth(settings: Settings, sweeps: dict[str, list[dict]] = SWEEPS) -> tuple[dict, dict]:
    """Times projections of `3 × 3` convolutions of many sizes; returns seconds and figures of a row."""
    contestants, points = {}, []
    for sweep, configurations in sweeps.items():
        for each in configurations:
            size, rank = each["size"], each["rank"]
            net = [keras.Input((4, 4, size))] + [layers.Conv2D(size, 3, padding="same") for _ in range(each["layers"])]
            spec = Spec("", lambda net=net: keras.Sequential([*net, layers.Dense(1, name="logits")]))
            subject = Subject(spec)
            subject.plan = lrpet.make_plan(subject.model, rank, exclude="logits", keep_if_no_gain=True)
            subject.projector = lrpet.Projector(subject.model, subject.plan)
            subject.starts = [start for batch in subject.projector.batches for start in batch.starts]
            initial = State([*subject.kernels, *subject.starts])
            subject.project()
            settled = State([*subject.kernels, *subject.starts])
            names = {state: f"{sweep} {size} {rank} {each['layers']} {state}" for state in ("cold", "warm")}
            contestants[names["cold"]] = Contestant(subject.project, initial.restore)
            contestants[names["warm"]] = Contestant(subject.project, _all(settled.restore, subject.move))
            points.append({"sweep": sweep, **each})
    seconds = interleaved(contestants, rounds=settings.rounds, seconds=settings.seconds)
    return seconds, {"points": points}


def measure(benchmark: str, model: str, settings: Settings) -> Row:
    """Runs one benchmark with one model."""
    if benchmark == "growth":
        seconds, figures = measure_growth(settings)
    elif benchmark == "memory":
        seconds, figures = _apart(measure_memory, model)
    else:
        function = {"plain": measure_plain, "limit": measure_limit, "training": measure_training}[benchmark]
        seconds, figures = function(MODELS[model], settings)
    rounded = {name: [float(f"{each:.4g}") for each in values] for name, values in seconds.items()}
    return Row(benchmark, model, **environment(), seconds=rounded, figures=figures)


def read(path: pathlib.Path) -> list[Row]:
    """Returns the rows of a file; none where there is no file."""
    return [Row(**row) for row in json.loads(path.read_text())["rows"]] if path.exists() else []


def write(row: Row, path: pathlib.Path) -> None:
    """Adds a row to a file, in the place of an earlier one of the same."""
    rows = sorted([*(each for each in read(path) if each.key != row.key), row], key=lambda each: each.key)
    lines = ",\n ".join(json.dumps(dataclasses.asdict(each)) for each in rows)
    write_atomically(path, f'{{"rows": [\n {lines}\n]}}\n'.encode())


def _tables(rows: Iterable[Row], heads: Sequence[str], cells: Callable[[Row], list[str]]) -> str:
    """Returns a table for each machine."""
    machines: dict[str, list[Row]] = {}
    order = {name: index for index, name in enumerate(MODELS)}
    for row in sorted(rows, key=lambda row: (order.get(row.model, -1), row.backend)):
        machines.setdefault(f"{row.device}, {row.cores} processor cores", []).append(row)
    return "\n".join(
        f"{machine}:\n\n{table(['model', 'backend', *heads], [[row.title, NAMES[row.backend], *cells(row)] for row in found])}"
        for machine, found in machines.items()
    )


def _of(rows: Iterable[Row], benchmark: str) -> list[Row]:
    return [row for row in rows if row.benchmark == benchmark]


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if abs(share) < 0.1 else f"{100 * share:.0f} %"


def projection_table(rows: Iterable[Row]) -> str:
    """Returns the times of projections."""
    heads = ["kernels:", "weights:", "first call:", "cold:", "warm:", "between steps:", "a step moves:", "fallback:"]

    def cells(row):
        figures = row.figures
        return [
            str(figures["layers"]),
            f"{figures['weights'] / 1e6:.1f} MB",
            duration(figures["first_call"]),
            *(duration(row.median(name)) for name in ("cold", "warm", "between steps")),
            _percent(figures["moved_by_step"]),
            duration(row.median("fallback")),
        ]

    return _tables(_of(rows, "plain"), heads, cells)


def plain_table(rows: Iterable[Row]) -> str:
    """Returns the times of the plain ways, and how many times as fast a projection is."""
    names = [(way, state) for way in ("torch.linalg.svd", "keras.ops.svd") for state in ("cold", "warm")]

    def cells(row):
        found = []
        for way, state in names:
            plain = row.median(f"{way}, {state}") if f"{way}, {state}" in row.seconds else None
            found.append("-" if plain is None else f"{duration(plain)}, **{plain / row.median(state):.1f}×**")
        return found

    return _tables(_of(rows, "plain"), [f"`{way}` {state}:" for way, state in names], cells)


def limit_table(rows: Iterable[Row]) -> str:
    """Returns the times of the two products, and how many times as long a projection takes."""

    def cells(row):
        products = row.median("products")
        return [duration(products), *(f"{row.median(name) / products:.2f}×" for name in ("cold", "warm", "between steps"))]

    return _tables(_of(rows, "limit"), ["two products:", "cold:", "warm:", "between steps:"], cells)


def training_shares(row: Row) -> dict[str, float]:
    """Returns the shares of the time of dense training that projections add, by what projects and how often.

    Those of a callback come from the time that it takes itself; those of whole steps from the difference to dense ones. Where
    no training was that long, the fallback stands for a projection: none takes longer.
    """
    dense = row.median("dense")
    shares = {}
    for every in (1, PERIOD, 250):
        name = f"callback {every}, projecting"
        shares[f"callback {every}"] = row.median(name if name in row.seconds else "fallback") / (every * dense)
        for kind in ("callback", "optimizer"):
            if f"{kind} {every}" in row.seconds:
                shares[f"whole {kind} {every}"] = row.median(f"{kind} {every}") / dense - 1
    return shares


def training_table(rows: Iterable[Row]) -> str:
    """Returns the shares of a training step."""
    heads = ["batch:", "training step:", "projection:", "every step:", "every 20:", "every 250:", "whole steps:", "optimizer:"]

    def cells(row):
        shares = training_shares(row)
        periods = (f"callback {every}" for every in (1, PERIOD, 250))
        whole = (f"whole {kind} 1" for kind in ("callback", "optimizer"))
        return [
            str(row.figures["batch"]),
            *(duration(row.median(name)) for name in ("dense", "callback 1, projecting")),
            *(_percent(shares[name]) for name in periods),
            *(_percent(shares[name]) if name in shares else "-" for name in whole),
        ]

    return _tables(_of(rows, "training"), heads, cells)


def memory_table(rows: Iterable[Row]) -> str:
    """Returns how much memory projections take."""

    def cells(row):
        weights, group, growth = (row.figures[name] for name in ("weights", "largest_group", "growth"))
        sizes = [f"{size / 1e6:.1f} MB" for size in (weights, group, growth)]
        return [*sizes, f"{growth / weights:.2f}", f"{(weights + growth) / (weights + group):.2f}"]

    heads = ["weights:", "largest group:", "growth:", "growth / weights:", "(weights + growth) / (weights + group):"]
    return _tables(_of(rows, "memory"), heads, cells)


def sweep(row: Row, name: str, state: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns what was varied, the seconds, and the multiply-adds of a sweep, cold or warm."""
    points = [point for point in row.figures["points"] if point["sweep"] == name]
    sizes = [{key: point[key] for key in ("size", "rank", "layers")} for point in points]
    seconds = [row.median(f"{name} {each['size']} {each['rank']} {each['layers']} {state}") for each in sizes]
    counts = [multiply_adds(**each, warm=state == "warm") for each in sizes]
    return tuple(np.array(values, "float64") for values in ([each[name] for each in sizes], seconds, counts))


def slope(values: np.ndarray, costs: np.ndarray, least: int) -> float:
    """Returns the exponent by which costs grow with values, over those from `least` on."""
    some = values >= least
    return float(np.polyfit(np.log(values[some]), np.log(costs[some]), 1)[0])


# What is varied in the tables and the picture, from where on its exponent is taken, and the exponent that theory tends to.
_AXES = {
    "size": ("columns `m` of kernels of `9 m` rows", 128, "3"),
    "rank": ("rank at `m = 256`", 32, "0 to 1"),
    "layers": ("layers at `m = 64`", 8, "1"),
}


def growth_table(rows: Iterable[Row]) -> str:
    """Returns the exponents by which costs grow."""
    parts = []
    for row in _of(rows, "growth"):
        lines = []
        for name, (title, least, theory) in _AXES.items():
            line = [title, f"{least} and up", theory]
            for state in ("cold", "warm"):
                values, seconds, counts = sweep(row, name, state)
                line += [f"{slope(values, seconds, least):.2f}", f"{slope(values, counts, least):.2f}"]
            lines.append(line)
        heads = ["varied", "range", "tends to", "cold:", "by multiply-adds:", "warm:", "by multiply-adds:"]
        parts.append(f"{NAMES[row.backend]} on {row.device}, {row.cores} processor cores:\n\n{table(heads, lines)}")
    return "\n".join(parts)


def draw_growth(row: Row, path: pathlib.Path) -> None:
    """Draws how costs grow, beside lines of the multiply-adds, and writes the picture."""
    figure = new_figure(3.4)
    for index, (name, (title, _, _)) in enumerate(_AXES.items(), start=1):
        axes = figure.add_subplot(1, 3, index)
        for color, state in (("C0", "cold"), ("C1", "warm")):
            values, seconds, counts = sweep(row, name, state)
            axes.loglog(values, 1e3 * seconds, "o-", color=color, label=state)
            axes.loglog(values, 1e3 * seconds[-1] * counts / counts[-1], "--", color=color, label=f"{state}, multiply-adds")
        axes.set_xticks(values, [f"{value:.0f}" for value in values], minor=False)
        axes.set_xticks([], minor=True)
        axes.set(xlabel=title.replace("`", ""), ylabel="milliseconds" if index == 1 else None)
    axes.legend(fontsize="small")
    figure.suptitle(f"Time of a projection, {NAMES[row.backend]} on {row.device}, {row.cores} cores", fontsize="medium")
    write_picture(figure, path)


_ON_GPU = (
    ("A projection", projection_table),
    ("Against the plain way", plain_table),
    ("Against the limit", limit_table),
    ("In training", training_table),
    ("Memory", memory_table),
)


def sections(rows: Sequence[Row]) -> dict[str, str]:
    """Returns the parts of the page that come from figures, by name."""
    on_cpu, on_gpu = ([row for row in rows if row.kind == kind] for kind in ("cpu", "gpu"))
    machines = sorted({described(dataclasses.asdict(row)) for row in rows})
    gpu = "\n".join(f"{title}:\n\n{function(on_gpu)}" for title, function in _ON_GPU if function(on_gpu))
    return {
        "machines": "".join(f"- {machine}\n" for machine in machines),
        "projection": projection_table(on_cpu),
        "plain": plain_table(on_cpu),
        "limit": limit_table(on_cpu),
        "training": training_table(on_cpu),
        "memory": memory_table(on_cpu),
        "growth": growth_table(on_cpu),
        "gpu": gpu or "All figures of this page were measured on a CPU: there are none from a GPU yet.\n",
    }


def report(docs: pathlib.Path) -> None:
    """Writes the tables of the page, and the picture, from the figures."""
    rows = read(docs / "projection.json")
    write_sections(docs / "performance.md", sections(rows))
    grown = sorted(_of(rows, "growth"), key=lambda row: row.backend != "tensorflow")
    if grown:
        draw_growth(grown[0], docs / "projection.png")


def summary(row: Row) -> str:
    """Returns a row in short."""
    times = ", ".join(f"{name} {duration(row.median(name))}" for name in row.seconds if row.benchmark != "growth")
    return f"{row.benchmark} {row.model}: {times} {row.figures if row.benchmark == 'memory' else ''}"


def main(argv):
    """Measures what is asked for, or writes the page."""
    del argv
    docs = pathlib.Path(_DOCS.value)
    if _REPORT.value:
        report(docs)
        return
    settings = Settings(_ROUNDS.value, _SECONDS.value, _BLOCKS.value, _BATCH.value, _TORCH.value, _DATA_DIR.value)
    for benchmark in _BENCHMARKS.value:
        for model in [""] if benchmark == "growth" else _MODELS.value:
            row = measure(benchmark, model, settings)
            write(row, docs / "projection.json")
            print(summary(row), flush=True)
            keras.utils.clear_session()
            gc.collect()


if __name__ == "__main__":
    _BENCHMARKS = flags.DEFINE_list("benchmarks", list(BENCHMARKS), "What to measure.")
    _MODELS = flags.DEFINE_list("models", list(MODELS), "Models to measure with.")
    _REPORT = flags.DEFINE_bool("report", False, "Measure nothing; write the page and the picture from what was measured.")
    _ROUNDS = flags.DEFINE_integer("rounds", 7, "Least number of rounds.", lower_bound=1)
    _SECONDS = flags.DEFINE_float("seconds", 10, "Rounds go on for about that many seconds.")
    _BLOCKS = flags.DEFINE_integer("blocks", 5, "Blocks of training steps of each kind.", lower_bound=1)
    _BATCH = flags.DEFINE_integer("batch", None, "Images of a training step; 128 by default, 32 of 224 × 224.")
    _TORCH = flags.DEFINE_bool("torch", True, "Whether to compare with torch.linalg.svd, which needs PyTorch.")
    _DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of CIFAR-10, prepared by TFDS; random images otherwise.")
    _DOCS = flags.DEFINE_string("docs", str(DOCS), "The folder of the figures and the page.")
    app.run(main)
