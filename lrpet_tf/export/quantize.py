"""The ways to quantize a file: one row each."""

from typing import NamedTuple

import numpy as np

from lrpet_tf.errors import PatternError
from lrpet_tf.litert import (
    Converted,
    Scheme,
    activation_ranges,
    convert,
    layers_of,
    output_names,
    quantize,
    text,
    unpack,
)
from lrpet_tf.ranks.patterns import as_patterns, check_patterns, matches


class Mode(NamedTuple):
    """One way to quantize.

    Attributes:
        about: What it does, in words.
        asked: What TensorFlow's converter is asked for.
        scheme: What is done with its file then; `None` where it is the result.
        tolerance: Largest difference to the Keras model that is allowed unless the user says otherwise, as a share of the
            output scale; `None` where none is.
        min_sqnr_db: Least signal-to-noise ratio likewise, in dB; `None` where none is asked for.
    """

    about: str
    asked: str | None
    scheme: Scheme | None
    tolerance: float | None
    min_sqnr_db: float | None

    @property
    def needs_data(self) -> bool:
        """Whether values are scaled beforehand, which takes representative data."""
        return self.scheme is not None and self.scheme.activation_bits is not None


# Below this ratio of signal to noise, 10 dB, a third of what comes out is noise.
_BROKEN_DB = 10.0
MODES: dict[str | None, Mode] = {
    None: Mode("float32", None, None, 1e-4, None),
    "float16": Mode("weights of 16 bits", "float16", None, 1e-2, None),
    "dynamic": Mode("weights of 8 bits, values scaled while the file runs", None, Scheme(None), None, _BROKEN_DB),
    "int8": Mode("integers of 8 bits, floating inputs and outputs", None, Scheme(8), None, _BROKEN_DB),
    "int8_io": Mode("integers of 8 bits, inputs and outputs too", None, Scheme(8, integer_ends=True), None, _BROKEN_DB),
    "int16x8": Mode("weights of 8 bits, values of 16", None, Scheme(16), None, _BROKEN_DB),
}


def get_mode(name: str | None) -> Mode:
    """Returns a row of `MODES`.

    Raises:
        ValueError: There is no such row.
    """
    if name not in MODES:
        raise ValueError(f"`quantize` must be one of {tuple(MODES)}. Received: quantize={name!r}")
    return MODES[name]


class Stages(NamedTuple):
    """A model on its way to a file.

    Attributes:
        floating: The file in float32.
        final: The file as asked for; the same object where nothing was quantized.
    """

    floating: Converted
    final: Converted


def build(
    model,
    mode: Mode,
    batch_size: int | None,
    calibration: list[np.ndarray] | None,
    exclude=None,
    *,
    strict: bool = True,
    holder: str = "",
) -> Stages:
    """Converts and quantizes a model.

    Args:
        model: A built Functional or Sequential model that computes in float32.
        mode: How.
        batch_size: Batch size of the file; `None` for any.
        calibration: Representative inputs, one array each, where the mode needs them.
        exclude: Patterns of layer paths to leave in floating values.
        strict: Whether each pattern must match a layer.
        holder: What stands before the paths of all layers, and not before those that patterns match.

    Returns:
        The files.

    Raises:
        ExportError: The model cannot be converted or quantized.
        PatternError: A pattern is no regular expression, or matches no layer.
    """
    floating = _renamed(convert(model, batch_size=batch_size), holder)
    if mode.asked is not None:
        return Stages(floating, _renamed(convert(model, quantize=mode.asked, batch_size=batch_size), holder))
    if mode.scheme is None:
        return Stages(floating, floating)
    left = excluded_operators(floating, as_patterns(exclude), strict=strict)
    ranges = activation_ranges(floating, calibration) if mode.needs_data else {}
    return Stages(floating, quantize(floating, mode.scheme, ranges, left))


def _renamed(converted: Converted, holder: str) -> Converted:
    scopes = {scope: path.removeprefix(holder) for scope, path in converted.scopes.items()}
    return converted._replace(scopes=scopes, ends=tuple(path.removeprefix(holder) for path in converted.ends))


def excluded_operators(converted: Converted, patterns: tuple, *, strict: bool = True) -> list[str]:
    """Returns the operators that come from layers of given paths, by the names of their outputs.

    An operator that was fused from several layers, such as a convolution with its batch norm and activation, is one of each.

    Args:
        converted: A file.
        patterns: Regular expressions, each of which must match the path of a layer, or of one that it stands in, whole.
        strict: Whether a pattern that matches nothing is an error.

    Raises:
        PatternError: A pattern is no regular expression, or matches no layer or only layers without operators in the file.
    """
    if not patterns:
        return []
    paths = dict.fromkeys(_with_holders(converted.scopes.values()))
    check_patterns("exclude", patterns if strict else (), dict.fromkeys(paths), usable=False)
    chosen: dict = {pattern: [] for pattern in patterns}
    model = unpack(converted.content)
    for graph in model.subgraphs:
        for operator in graph.operators:
            sources = list(_with_holders(operator_layers(model, graph, operator, converted)))
            for pattern in patterns:
                if any(matches(pattern, path) for path in sources):
                    chosen[pattern].append(output_names(graph, operator))
    for pattern, found in chosen.items():
        if strict and not found:
            raise PatternError("exclude", pattern, "matches only layers that leave no operator in the file", tuple(paths))
    return list(dict.fromkeys(name for found in chosen.values() for name in found))


def excluded_paths(converted: Converted, exclude) -> tuple[str, ...]:
    """Returns the paths of the layers of a file that patterns match, or that stand in what they match."""
    patterns = as_patterns(exclude)
    return tuple(
        path
        for path in dict.fromkeys(converted.scopes.values())
        if any(matches(pattern, each) for pattern in patterns for each in _with_holders([path]))
    )


def _with_holders(paths):
    """Yields paths, and those of the models and layers around them."""
    for path in paths:
        parts = path.split("/")
        yield from ("/".join(parts[:count]) for count in range(1, len(parts) + 1))


def operator_layers(model, graph, operator, converted: Converted) -> tuple[str, ...]:
    """Returns the paths of the layers that an operator comes from, as names tell: those of its outputs, or else its weights.

    Args:
        model: The structure of a file.
        graph: One of its graphs.
        operator: One of its operators.
        converted: The file, with the scopes of the layers.
    """
    names = [text(graph.tensors[index].name) for index in operator.outputs if index >= 0]
    found = [path for name in names for path in layers_of(_plain(name), converted.scopes)]
    if not found:
        found = [path for index in operator.outputs for path in _ends(model, graph, int(index), converted)]
    if not found:
        inputs = [text(graph.tensors[index].name) for index in operator.inputs if index >= 0]
        found = [path for name in inputs for path in layers_of(_plain(name), converted.scopes)]
    return tuple(dict.fromkeys(found))


def _plain(name: str) -> str:
    """Returns the name that a tensor had before the quantizer put another one beside it."""
    for ending in ("_dequant", "_quantized", "_requant"):
        name = name.removesuffix(ending)
    return name


def _ends(model, graph, index: int, converted: Converted) -> tuple[str, ...]:
    """Returns the layer of an output of the model, whose tensor has no name of its own."""
    if graph is not model.subgraphs[0] or not converted.ends:
        return ()
    names = {_plain(text(graph.tensors[each.tensorIndex].name)): text(each.name) for each in model.signatureDefs[0].outputs}
    name = names.get(_plain(text(graph.tensors[index].name)))
    return (converted.ends[converted.outputs.index(name)],) if name in converted.outputs else ()
