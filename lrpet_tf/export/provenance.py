"""The facts about a file that stand in it: what the user tells, and where it comes from."""

import dataclasses
import importlib.metadata
from collections.abc import Mapping, Sequence

import keras
import numpy as np

from lrpet_tf.errors import ExportError
from lrpet_tf.graph import input_layer
from lrpet_tf.litert import Converted, FileMetadata, TensorInfo
from lrpet_tf.plan import source_plan
from lrpet_tf.version import __version__

_FORMAT = "lrpet_tf provenance 1"
_PACKAGES = ("keras", "tensorflow", "ai-edge-litert", "ai-edge-quantizer")

Normalization = tuple[float | Sequence[float], float | Sequence[float]]


@dataclasses.dataclass(frozen=True)
class FileInfo:
    """What a user wants a `.tflite` file to tell about itself.

    Attributes:
        description: What the model does.
        version: Its version.
        author: Who made it.
        license: How it may be used.
        normalization: What the caller must do with the inputs before they go in: `(mean, std)` for `(x - mean) / std`, each a
            number or one a channel; or a dict of these by the names of inputs. `None` where there is nothing to do.
        labels: Names of the classes, in order; or a dict of these by the names of outputs.
    """

    description: str = ""
    version: str = ""
    author: str = ""
    license: str = ""
    normalization: Normalization | Mapping[str, Normalization] | None = None
    labels: Sequence[str] | Mapping[str, Sequence[str]] | None = None

    def tensors(self, model: keras.Model) -> "tuple[list[TensorInfo], list[TensorInfo]]":
        """Returns what is told of the model's inputs and outputs, in their order, under the names that the model has for them.

        Raises:
            ExportError: A name is unknown, a divisor is 0, or there are not as many labels as classes.
        """
        inputs = {input_layer(tensor).name: tuple(tensor.shape) for tensor in model.inputs}
        outputs = dict(zip(_names(model), (tuple(tensor.shape) for tensor in model.outputs), strict=True))
        pairs = _by_name("normalization", self.normalization, inputs)
        labels = _by_name("labels", self.labels, outputs)
        return (
            [_normalized(name, pairs.get(name), shape) for name, shape in inputs.items()],
            [_labelled(name, labels.get(name), shape) for name, shape in outputs.items()],
        )


def _names(model: keras.Model) -> list[str]:
    names = list(getattr(model, "output_names", ()))
    return names if len(set(names)) == len(model.outputs) else [f"output_{index}" for index in range(len(model.outputs))]


def _by_name(argument: str, value, names: Mapping) -> Mapping:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        if len(names) > 1:
            raise ExportError(f"FileInfo(`{argument}`) must be a dict by name, one of {', '.join(names)}. Received: {value!r}")
        return {next(iter(names)): value}
    unknown = [name for name in value if name not in names]
    if unknown:
        raise ExportError(
            f"FileInfo(`{argument}`) must name some of {', '.join(names)}. Received: {', '.join(map(repr, unknown))}"
        )
    return value


def _normalized(name: str, pair, shape: tuple) -> TensorInfo:
    if pair is None:
        return TensorInfo(name)
    try:
        mean, std = (tuple(float(each) for each in np.atleast_1d(np.asarray(part, float))) for part in pair)
    except (TypeError, ValueError) as error:
        raise ExportError(f"FileInfo(`normalization`) must be (mean, std) for input '{name}'. Received: {pair!r}") from error
    counts = {1, shape[-1]} if len(shape) > 1 else {1}
    if len(mean) not in counts or len(std) not in counts or not all(std):
        raise ExportError(
            f"FileInfo(`normalization`) must be (mean, std) for input '{name}', each a number or one a channel of "
            f"{shape[-1]}, and no "
            f"std of 0. Received: {pair!r}"
        )
    return TensorInfo(name, mean, std)


def _labelled(name: str, labels, shape: tuple) -> TensorInfo:
    if labels is None:
        return TensorInfo(name)
    labels = tuple(map(str, labels))
    if len(labels) != shape[-1] or any("\n" in label for label in labels):
        raise ExportError(
            f"FileInfo(`labels`) must hold one line of text for each of the {shape[-1]} entries of output '{name}'. "
            f"Received: {len(labels)} labels"
        )
    return TensorInfo(name, labels=labels)


def provenance(source: keras.Model, **facts) -> dict:
    """Returns where a file comes from, as plain values.

    Args:
        source: The model that was exported: the plan that it was factorized by is told, as `[decomposition, rank]` by layer
            path.
        **facts: What else there is to tell; `None` is left out.
    """
    plan = source_plan(source)
    planned = None if plan is None else {layer.path: [layer.decomposition, layer.rank] for layer in plan.layers}
    found = {"format": _FORMAT, "model": source.name, "versions": _versions(), **facts, "plan": planned}
    return {name: value for name, value in found.items() if value is not None}


def _versions() -> dict[str, str]:
    found = {"lrpet_tf": __version__}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def file_metadata(model: keras.Model, converted: Converted, info: FileInfo, facts: Mapping) -> FileMetadata:
    """Returns what a file is to tell.

    Args:
        model: The model that was converted.
        converted: The file, whose names are told.
        info: What the user tells.
        facts: See `provenance`.

    Raises:
        ExportError: `info` does not fit the model.
    """
    inputs, outputs = info.tensors(model)
    return FileMetadata(
        name=model.name,
        description=info.description,
        version=info.version,
        author=info.author,
        license=info.license,
        inputs=tuple(dataclasses.replace(each, name=name) for each, name in zip(inputs, converted.inputs, strict=True)),
        outputs=tuple(dataclasses.replace(each, name=name) for each, name in zip(outputs, converted.outputs, strict=True)),
        provenance=dict(facts),
    )
