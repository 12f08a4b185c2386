"""What a rank rule is."""

import abc
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A layer that a rule chooses a rank for.

    Attributes:
        path: Path of the layer.
        full_rank: Full rank of its kernel in the decomposition at hand.
        declared_rank: The rank that the author of the layer declared, or `None`.
        read_spectrum: Gives the singular values of the kernel in float64, the largest first.
    """

    path: str
    full_rank: int
    declared_rank: float | int | None
    read_spectrum: Callable[[], np.ndarray] = dataclasses.field(repr=False)

    @functools.cached_property
    def spectrum(self) -> np.ndarray:
        """Singular values of the kernel in float64, the largest first; read when they are first asked for."""
        return self.read_spectrum()


class RankRule(abc.ABC):
    """Chooses the ranks of all candidates together."""

    @abc.abstractmethod
    def choose(self, candidates: Sequence[Candidate]) -> Mapping[str, int]:
        """Returns a rank by path, from 1 to the full rank. A candidate that is left out stays dense.

        Args:
            candidates: The layers that can be factorized.

        Raises:
            RankError: The rule asks for a rank that a layer cannot have.
        """
