"""A budget of measured latency."""

import dataclasses
import functools
import numbers
import os

from lrpet_tf.costs import LatencyTable, calls_by_path, measure_latency
from lrpet_tf.errors import LowRankError
from lrpet_tf.ranks.base import Candidate, Form, Problem
from lrpet_tf.ranks.budget import Budget, Limit, Option, Weighed

# A layer counts as faster only if it is faster by more than this share of its dense latency: less is within the noise.
_MARGIN = 0.03


@dataclasses.dataclass(frozen=True, repr=False)
class LatencyBudget(Budget):
    """Meets a budget of latency for one sample, as measured: `LatencyBudget(0.7)`, or `LatencyBudget(ms=12)`; see `Budget`.

    Latency is a staircase in the rank, with steps that differ from device to device. The options of a layer are its dense form
    and the ranks that were measured to be faster, which lie on the good edges of the steps: a rank that takes longer than a
    higher one is beaten by it. The latency of the model is that of the whole dense model, less what its layers gain.

    Attributes:
        limit: A share of the dense model's latency as a float in (0, 1], or milliseconds as a text such as `"12 ms"`.
        ms: Milliseconds, instead of `limit`.
        table: A `LatencyTable`, or the path of one that was saved, of the device that counts; by default the layers are
            measured on this machine when the ranks are chosen, see `lrpet_tf.measure_latency`.
        quantize: What the layers are measured as when there is no table: `None` for float32, or `"int8"`.
        threads: Threads that they are measured with.
        criterion: See `Budget`.

    Raises:
        LowRankError: A value is out of range, or the table was not measured for the model.
        BudgetError: When it chooses: the budget cannot be reached; the message states the least that can be.
    """

    limit: float | str | None = None
    ms: float | None = dataclasses.field(default=None, kw_only=True)
    table: LatencyTable | str | os.PathLike | None = dataclasses.field(default=None, kw_only=True)
    quantize: str | None = dataclasses.field(default=None, kw_only=True)
    threads: int = dataclasses.field(default=1, kw_only=True)

    unit = "(?:ms)"
    example = "12 ms"

    def __post_init__(self):
        """Checks the values, and that the file of the table can be read."""
        if (self.limit is None) == (self.ms is None):
            raise LowRankError(
                "LatencyBudget takes a share of the dense latency, LatencyBudget(0.7), or milliseconds, LatencyBudget(ms=12). "
                f"Received: limit={self.limit!r}, ms={self.ms!r}"
            )
        super().__post_init__()
        self._given_table()

    def parsed(self) -> Limit:
        """Returns the limit as a share or in milliseconds."""
        limit = super().parsed() if self.ms is None else Limit(amount=self.ms)
        if self.ms is None and isinstance(self.limit, numbers.Integral):
            raise LowRankError(f"Milliseconds are given as LatencyBudget(ms={self.limit}). Received: limit={self.limit!r}")
        if not isinstance(self.ms, (numbers.Real, type(None))) or (limit.amount is not None and not limit.amount > 0):
            raise LowRankError(f"Milliseconds must be above 0. Received: {self!r}")
        return limit

    def _given_table(self) -> LatencyTable | None:
        if not isinstance(self.table, (LatencyTable, str, os.PathLike, type(None))):
            raise LowRankError(f"`table` must be a LatencyTable or the path of a saved one. Received: table={self.table!r}")
        return LatencyTable.load(self.table) if isinstance(self.table, (str, os.PathLike)) else self.table

    def show(self, amount: float) -> str:
        """Returns milliseconds."""
        return f"{amount:.3g} ms" if amount < 100 else f"{amount:.0f} ms"

    def weigh(self, problem: Problem) -> Weighed:
        """Returns what each layer takes in each form; the rest of the model is what its whole takes beyond them."""
        table = self._given_table()
        if table is None:
            forms = {form.name for candidate in problem.candidates for form in candidate.forms}
            options = {
                "quantize": self.quantize,
                "threads": self.threads,
                "decomposition": "auto" if len(forms) > 1 else min(forms, default="channel"),
                "adapters": problem.graph.adapters,
            }
            measure = functools.partial(measure_latency, problem.model, **options)
            table = problem.once((self.quantize, self.threads), measure)
        keys = calls_by_path(problem.graph)
        options = [self._weighed(candidate, keys.get(candidate.path, ()), table) for candidate in problem.candidates]
        rest = (
            table.model_ms(problem.graph, problem.model.name) - sum(each[0].cost for each in options) if problem.whole else 0.0
        )
        return Weighed(options, rest)

    def _weighed(self, candidate: Candidate, keys: list[str], table: LatencyTable) -> list[Option]:
        dense = sum(table.layer_ms(key) for key in keys)

        def priced(form: Form):
            for rank in table.ranks(keys[0], form.name) if keys else ():
                if rank <= form.full_rank and rank == self.allowed(rank, form.full_rank):
                    taken = sum(table.layer_ms(key, form.name, rank) for key in keys)
                    if taken < (1 - _MARGIN) * dense:
                        yield rank, taken

        return self._options(candidate, dense, priced)
