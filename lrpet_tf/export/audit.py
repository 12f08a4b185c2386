"""What the operators of a file are, and which of them stand in the way of integers."""

import dataclasses
from collections import Counter

from lrpet_tf.export.quantize import operator_layers
from lrpet_tf.litert import Converted, is_builtin, is_constant, operator_name, unpack

_FLOATS = {0, 1, 10}  # float32, float16 and float64 in LiteRT's schema
_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")


@dataclasses.dataclass(frozen=True)
class Finding:
    """Operators that a reader of the report should know of.

    Attributes:
        operators: Their names, such as `RSQRT`.
        layers: Paths of the layers that they come from; empty where the file does not tell.
        excluded: Whether they are there because the user left layers in floating values.
    """

    operators: tuple[str, ...]
    layers: tuple[str, ...]
    excluded: bool = False

    def __str__(self) -> str:
        """Returns the finding as text."""
        counts = Counter(self.operators)
        names = ", ".join(name if count == 1 else f"{count} {name}" for name, count in counts.items())
        layers = ", ".join(f"'{path}'" for path in self.layers[:6]) + (", …" if len(self.layers) > 6 else "")
        return f"{names} from {layers or 'no known layer'}{' (excluded)' if self.excluded else ''}"


@dataclasses.dataclass(frozen=True)
class Audit:
    """The operators of a file.

    Attributes:
        operators: How many of each kind there are, loops included.
        not_builtin: Operators that a plain LiteRT runtime does not have.
        float_islands: In a file of integers: operators on floating values, those that are connected together. The conversion of
            floating inputs and outputs is none.
        conversions: In a file of integers: each DEQUANTIZE and QUANTIZE between floating values and integers inside the graph.
    """

    operators: dict[str, int]
    not_builtin: tuple[Finding, ...]
    float_islands: tuple[Finding, ...]
    conversions: tuple[Finding, ...]

    def lines(self) -> list[str]:
        """Returns the audit as lines of text."""
        counts = ", ".join(f"{count} {name}" for name, count in sorted(self.operators.items(), key=lambda each: -each[1]))
        parts = [f"operators: {counts}"]
        for title, findings in (
            ("not builtin", self.not_builtin),
            ("on floating values", self.float_islands),
            ("conversions inside", self.conversions),
        ):
            parts += [f"  {title}: {finding}" for finding in findings]
        return parts


def audit(converted: Converted, *, integers: bool, excluded: frozenset[str] = frozenset()) -> Audit:
    """Looks at the operators of a file.

    Args:
        converted: The file, with the scopes of its layers.
        integers: Whether it is meant to compute with integers throughout.
        excluded: Paths of the layers that the user left in floating values.
    """
    model = unpack(converted.content)
    counts = Counter(operator_name(model, each) for graph in model.subgraphs for each in graph.operators)
    custom = []
    islands, inside = [], []
    for graph in model.subgraphs:
        reader = _GraphReader(model, graph, converted, excluded)
        custom += [reader.finding([each]) for each in graph.operators if not is_builtin(model, each)]
        if integers:
            islands += [reader.finding(group) for group in reader.islands()]
            inside += [reader.finding([each]) for each in reader.conversions()]
    return Audit(dict(counts), tuple(custom), tuple(islands), tuple(inside))


class _GraphReader:
    """One graph of a file."""

    def __init__(self, model, graph, converted: Converted, excluded: frozenset[str]):
        self._model, self._graph, self._converted = model, graph, converted
        self._excluded = excluded
        self._ends = {*map(int, graph.inputs), *map(int, graph.outputs)} if graph is model.subgraphs[0] else set()

    def _is_float(self, index: int) -> bool:
        tensor = self._graph.tensors[index]
        return tensor.type in _FLOATS and not is_constant(self._model, tensor)

    def _computes_in_floats(self, operator) -> bool:
        if operator_name(self._model, operator) in _CONVERSIONS:
            return False
        return any(self._is_float(int(index)) for index in (*operator.inputs, *operator.outputs) if index >= 0)

    def islands(self) -> list[list]:
        """Returns the operators on floating values, those that share a tensor together."""
        groups: list[tuple[set[int], list]] = []
        for operator in self._graph.operators:
            if not self._computes_in_floats(operator):
                continue
            touched = {int(i) for i in (*operator.inputs, *operator.outputs) if i >= 0 and self._is_float(int(i))}
            joined = [group for group in groups if group[0] & touched]
            groups = [group for group in groups if not group[0] & touched]
            groups.append(
                (touched.union(*(group[0] for group in joined)), [*(op for group in joined for op in group[1]), operator])
            )
        return [operators for _, operators in groups]

    def conversions(self) -> list:
        """Returns the operators between floating values and integers that are not at an input or output."""
        found = []
        for operator in self._graph.operators:
            tensors = [int(index) for index in (*operator.inputs, *operator.outputs) if index >= 0]
            kind = operator_name(self._model, operator)
            floats = any(self._graph.tensors[index].type in _FLOATS for index in tensors)
            if kind in _CONVERSIONS and floats and not self._ends & set(tensors):
                found.append(operator)
        return found

    def finding(self, operators: list) -> Finding:
        """Returns operators with their layers; of a conversion, those of the operators before and behind it."""
        sources = [self._layers(each) for each in operators]
        names = tuple(operator_name(self._model, each) for each in operators)
        layers = dict.fromkeys(path for paths in sources for path in paths)
        return Finding(names, tuple(layers), all(self._excluded & set(paths) for paths in sources))

    def _layers(self, operator) -> tuple[str, ...]:
        around = [operator]
        if operator_name(self._model, operator) in _CONVERSIONS:
            into, out = set(map(int, operator.inputs)), set(map(int, operator.outputs))
            others = [each for each in self._graph.operators if each is not operator]
            around = [each for each in others if into & set(map(int, each.outputs))]
            around += [each for each in others if out & set(map(int, each.inputs))]
        found = [path for each in around for path in operator_layers(self._model, self._graph, each, self._converted)]
        return tuple(dict.fromkeys(found))
