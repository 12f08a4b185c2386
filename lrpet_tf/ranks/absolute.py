"""The same rank for every layer."""

import dataclasses

from lrpet_tf.linalg import resolve_rank, validate_rank
from lrpet_tf.ranks.base import Candidate, Form, LayerRule


@dataclasses.dataclass(frozen=True, repr=False)
class Absolute(LayerRule):
    """Keeps a given number of singular values.

    Attributes:
        number: At least 1; above the full rank of a layer it is an error that names the layer.

    Raises:
        RankError: `number` is under 1, or no whole number.
    """

    number: int

    def __post_init__(self):
        """Checks the values."""
        super().__post_init__()
        if isinstance(validate_rank(self.number), float):
            validate_rank(0)

    def rank(self, candidate: Candidate, form: Form) -> int:
        """Returns the number."""
        return resolve_rank(self.number, form.full_rank, candidate.path)
