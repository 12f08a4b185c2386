"""A budget of the size of the file."""

import dataclasses
import functools

from lrpet_tf import decompositions
from lrpet_tf.costs import BYTES_PER_WEIGHT, chain_structure, file_bytes
from lrpet_tf.errors import LowRankError
from lrpet_tf.ranks.base import Candidate, Form, Problem
from lrpet_tf.ranks.budget import Budget, Option, Weighed
from lrpet_tf.report import Progress, kilobytes


@dataclasses.dataclass(frozen=True, repr=False)
class SizeBudget(Budget):
    """Meets a budget of the size of the `.tflite` file: `SizeBudget("300 kB")`, or `SizeBudget(0.5)`; see `Budget`.

    The dense model is converted once to learn what its file holds beside the weights, and one small model of each type of layer
    to learn what a chain adds. A kB is 1,000 bytes, a KiB 1,024.

    Attributes:
        limit: A share of the dense model's file as a float in (0, 1], or bytes as a whole number or a text.
        quantize: How the file will be exported: `None` for float32, `"float16"` or `"int8"`.
        criterion: See `Budget`.

    Raises:
        LowRankError: A value is out of range.
        BudgetError: When it chooses: the budget cannot be reached; the message states the least that can be.
        ExportError: When it chooses: the backend is not TensorFlow, or the model cannot be converted.
    """

    quantize: str | None = dataclasses.field(default=None, kw_only=True)

    unit = "(?:B|bytes)"
    example = "300 kB"

    def __post_init__(self):
        """Checks the values."""
        super().__post_init__()
        if self.quantize not in BYTES_PER_WEIGHT:
            raise LowRankError(f"`quantize` must be one of {tuple(BYTES_PER_WEIGHT)}. Received: quantize={self.quantize!r}")

    def show(self, amount: float) -> str:
        """Returns kilobytes or megabytes."""
        return kilobytes(round(amount))

    def weigh(self, problem: Problem) -> Weighed:
        """Returns the bytes of each layer in each form; the rest of the file is what it holds beyond the dense layers."""
        calls = {each.path: len(problem.graph.calls_of(each.layer)) for each in problem.candidates}
        firsts = {(type(each.layer), form.name, calls[each.path]): each for each in problem.candidates for form in each.forms}
        with Progress("Weighing files", len(firsts) + problem.whole) as progress:
            structures = {}
            for key, each in firsts.items():
                shape = problem.graph.calls_of(each.layer)[0].input_shape[1:]
                weigh = functools.partial(
                    chain_structure, each.layer, each.adapter, shape, decompositions.get(key[1]), self.quantize, key[2]
                )
                structures[key] = problem.once((key, self.quantize), weigh)
                progress.advance()
            options = [self._weighed(candidate, calls[candidate.path], structures) for candidate in problem.candidates]
            if not problem.whole:
                return Weighed(options, sum(BYTES_PER_WEIGHT[self.quantize] * cost.params for cost in problem.others.values()))
            whole = problem.once(("file", self.quantize), lambda: file_bytes(problem.model, self.quantize))
            return Weighed(options, whole - sum(each[0].cost for each in options))

    def _weighed(self, candidate: Candidate, calls: int, structures: dict) -> list[Option]:
        width = BYTES_PER_WEIGHT[self.quantize]
        dense = width * candidate.dense.params

        def priced(form: Form):
            beside = structures[type(candidate.layer), form.name, calls]

            def size(rank: int) -> float:
                return width * form.cost(rank).params + beside.bytes + beside.bytes_per_rank * rank

            return self._cheaper(form, dense, size)

        return self._options(candidate, dense, priced)
