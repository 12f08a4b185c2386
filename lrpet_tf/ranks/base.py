"""What a rank rule is, and what it decides on."""

import abc
import dataclasses
import functools
import numbers
from collections.abc import Callable, Collection, Hashable, Mapping
from typing import NamedTuple

import keras
import numpy as np

from lrpet_tf.adapters import KernelAdapter
from lrpet_tf.costs import Cost
from lrpet_tf.errors import LowRankError
from lrpet_tf.graph import Graph


@dataclasses.dataclass(frozen=True)
class Form:
    """One decomposition of one layer.

    Attributes:
        name: Name of the decomposition.
        full_rank: Full rank of the kernel in it.
        cost: Gives the cost of the layer as a chain of a rank.
        read_spectrum: Gives the singular values that the ranks cut, the largest first.
    """

    name: str
    full_rank: int
    cost: Callable[[int], Cost] = dataclasses.field(repr=False)
    read_spectrum: Callable[[], np.ndarray] = dataclasses.field(repr=False)

    @functools.cached_property
    def spectrum(self) -> np.ndarray:
        """Singular values of the kernel as its batch norm scales it, the largest first; read when they are first asked for."""
        return self.read_spectrum()

    def read(self) -> None:
        """Reads the spectrum, unless it was read."""
        _ = self.spectrum

    @property
    def was_read(self) -> bool:
        """Whether a rule has asked for the spectrum."""
        return "spectrum" in vars(self)

    @functools.cached_property
    def energy_lost(self) -> np.ndarray:
        """Share of the energy that a rank `r` cuts, `Σ_{i>r} σ² / Σ σ²`, at index `r` from 0 to the full rank."""
        tails = np.append(np.cumsum(self.spectrum[::-1] ** 2)[::-1], 0.0)
        return tails / tails[0] if tails[0] else np.zeros_like(tails)


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A layer that a rule chooses a rank for.

    Attributes:
        path: Path of the layer.
        layer: The layer.
        adapter: Its adapter.
        dense: Its cost as it is.
        forms: The decompositions to choose from, one as a rule.
        declared_rank: The rank that the author of the layer declared, or `None`.
    """

    path: str
    layer: keras.layers.Layer = dataclasses.field(repr=False)
    adapter: KernelAdapter = dataclasses.field(repr=False)
    dense: Cost
    forms: tuple[Form, ...]
    declared_rank: float | int | None = None


@dataclasses.dataclass(frozen=True)
class Problem:
    """What a rule decides on.

    Attributes:
        model: The model.
        candidates: The layers that can be factorized.
        others: Cost of the other layers that are counted, by path; they stay as they are.
        whole: Whether these are all layers of the model, or only those of a pattern.
    """

    model: keras.Model
    graph: Graph = dataclasses.field(repr=False)
    candidates: tuple[Candidate, ...]
    others: Mapping[str, Cost] = dataclasses.field(default_factory=dict)
    whole: bool = True
    _found: dict = dataclasses.field(default_factory=dict, repr=False, compare=False)

    def once(self, key: Hashable, find: Callable):
        """Returns what `find` gives, which is asked only the first time that a rule wants it of this model."""
        if key not in self._found:
            self._found[key] = find()
        return self._found[key]

    def restrict(self, paths: Collection[str]) -> "Problem":
        """Returns the part of the problem that concerns some layers."""
        candidates = tuple(each for each in self.candidates if each.path in paths)
        others = {path: self.others[path] for path in self.others if path in paths}
        return dataclasses.replace(self, candidates=candidates, others=others, whole=False)


class Choice(NamedTuple):
    """A decomposition and a rank.

    Attributes:
        form: Name of the decomposition.
        rank: From 1 to the full rank.
        weighed: Whether the rule compared it with the dense layer already. If not, a choice that saves no
            multiply-accumulates is left out of the plan.
    """

    form: str
    rank: int
    weighed: bool = False


class Dense(NamedTuple):
    """The layer stays as it is, and why."""

    reason: str


class Chosen(NamedTuple):
    """What a rule chose by path, and what it reached with that, in words, for the head of the plan."""

    choices: Mapping[str, int | Choice | Dense]
    note: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class RankRule(abc.ABC):
    """Chooses the ranks of all candidates together.

    Attributes:
        multiple_of: Ranks are multiples of it, or the full rank: hardware is fast at some widths.
        min_rank: No rank is under it.

    Raises:
        LowRankError: One of them is not a whole number of at least 1.
    """

    multiple_of: int = 1
    min_rank: int = 1

    # Whether the ranks depend on the weights: at random initialisation they say nothing yet.
    reads_weights = False

    def __post_init__(self):
        """Checks the values."""
        for name in ("multiple_of", "min_rank"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
                raise LowRankError(f"`{name}` must be a whole number of at least 1. Received: {name}={value!r}")

    def __repr__(self) -> str:
        """Returns the rule as it is written; `lrpet_tf.ranks.get` reads it."""
        fields = [field for field in dataclasses.fields(self) if not field.kw_only]
        options = [field for field in dataclasses.fields(self) if field.kw_only and getattr(self, field.name) != field.default]
        parts = [_written(getattr(self, field.name)) for field in fields]
        parts += [f"{field.name}={_written(getattr(self, field.name))}" for field in options]
        return f"{type(self).__name__}({', '.join(parts)})"

    @abc.abstractmethod
    def choose(self, problem: Problem) -> "Chosen | Mapping[str, int | Choice | Dense]":
        """Returns by path a rank of the first form, a `Choice`, or `Dense`; with a note, or alone.

        Args:
            problem: The layers to choose for, and the cost of the others. A candidate that is left out stays dense.

        Raises:
            LowRankError: The rule asks for what these layers cannot give.
        """

    def allowed(self, rank: int, full_rank: int) -> int:
        """Returns the smallest allowed rank that is at least `rank`."""
        rank = max(rank, self.min_rank)
        return min(full_rank, -(-rank // self.multiple_of) * self.multiple_of)

    def allowed_ranks(self, full_rank: int) -> np.ndarray:
        """Returns all allowed ranks of a layer, ascending; the last one is its full rank."""
        first = self.allowed(1, full_rank)
        return np.append(np.arange(first, full_rank, self.multiple_of), full_rank)


class LayerRule(RankRule):
    """A rule that looks at one layer at a time."""

    @abc.abstractmethod
    def rank(self, candidate: Candidate, form: Form) -> int | None:
        """Returns the rank of one layer in one form, before rounding, or `None` to leave it dense."""

    def choose(self, problem: Problem) -> Chosen:
        """See `RankRule.choose`. Of several forms, the one that keeps the most energy at the cost of the first one's rank."""
        found = {each.path: self._choice(each) for each in problem.candidates}
        return Chosen({path: choice for path, choice in found.items() if choice is not None})

    def _choice(self, candidate: Candidate) -> Choice | None:
        first, *others = candidate.forms
        rank = self.rank(candidate, first)
        if rank is None:
            return None
        choices = [Choice(first.name, self.allowed(rank, first.full_rank))]
        if not others:
            return choices[0]
        limit = first.cost(choices[0].rank)
        lost = [first.energy_lost[choices[0].rank]]
        for form in others:
            affordable = [int(r) for r in self.allowed_ranks(form.full_rank) if not is_cheaper(limit, form.cost(int(r)))]
            if affordable:
                choices.append(Choice(form.name, affordable[-1]))
                lost.append(form.energy_lost[affordable[-1]])
        return choices[int(np.argmin(lost))]


def _written(value) -> str:
    return repr(value.item() if isinstance(value, np.generic) else value)


def as_chosen(chosen: Chosen | Mapping[str, int | Choice | Dense]) -> Chosen:
    """Returns what a rule chose, with a note or alone, with a note."""
    return chosen if isinstance(chosen, Chosen) else Chosen(chosen)


def is_cheaper(one: Cost, other: Cost) -> bool:
    """Returns whether one form of a layer costs less than another.

    Where the sizes are unknown, the weights decide: every factor of a chain then works at the same positions. So they do where
    a form has no multiply-accumulates, as a table of embeddings.
    """
    return one.macs < other.macs if one.macs and other.macs else one.params < other.params
