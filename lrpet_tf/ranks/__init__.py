"""The rank rules: one file each, one row in `RULES`; what a user may write for one is in `get`."""

import ast
import numbers
from collections.abc import Mapping

from lrpet_tf.errors import LowRankError, RankError
from lrpet_tf.linalg import validate_rank
from lrpet_tf.ranks.absolute import Absolute
from lrpet_tf.ranks.base import Candidate, Choice, Chosen, Dense, Form, LayerRule, Problem, RankRule, as_chosen, is_cheaper
from lrpet_tf.ranks.budget import Budget, MacsBudget, ParamsBudget
from lrpet_tf.ranks.declared import Declared
from lrpet_tf.ranks.energy import Energy
from lrpet_tf.ranks.latency import LatencyBudget
from lrpet_tf.ranks.numerical import NumericalRank
from lrpet_tf.ranks.patterns import ByPattern, as_patterns, check_patterns, matches
from lrpet_tf.ranks.share import Share
from lrpet_tf.ranks.size import SizeBudget

RULES: dict[str, type[RankRule]] = {
    rule.__name__: rule
    for rule in (Share, Absolute, Declared, NumericalRank, Energy, MacsBudget, ParamsBudget, SizeBudget, LatencyBudget)
}


def get(rank, pattern: str | None = None) -> RankRule:
    """Returns the rule that a user's `rank` stands for.

    Args:
        rank: A share as a float in (0, 1], a rank as an int, a rule, a dict of layer-path patterns to any of these, or
            `None` for the declared ranks. A text is read as what it would be in Python: `"0.5"`, `"MacsBudget(0.5)"`.
        pattern: The pattern that the rank was given for, for the message.

    Raises:
        RankError: It is none of these.
    """
    if rank is None:
        return Declared()
    if isinstance(rank, RankRule):
        return rank
    if isinstance(rank, str):
        return get(_read(rank, pattern), pattern)
    if isinstance(rank, Mapping) and rank:
        return ByPattern({each: get(value, each) for each, value in rank.items()})
    if isinstance(rank, bool) or not isinstance(rank, numbers.Real):
        raise RankError(rank, path=pattern)
    rank = validate_rank(rank, path=pattern)
    return Absolute(rank) if isinstance(rank, int) else Share(rank)


def _read(text: str, pattern: str | None):
    """Returns the number, the dict or the rule that a text names; it is read, never run."""
    try:
        node = ast.parse(text.strip(), mode="eval").body
        if not isinstance(node, ast.Call):
            value = ast.literal_eval(node)
            if isinstance(value, str):
                raise ValueError(value)
            return value
        arguments = [ast.literal_eval(each) for each in node.args]
        options = {each.arg: ast.literal_eval(each.value) for each in node.keywords}
        return RULES[node.func.id](*arguments, **options)
    except LowRankError:
        raise  # the rule's own word
    except (SyntaxError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise RankError(text, path=pattern) from error


__all__ = [
    "RULES",
    "Absolute",
    "Budget",
    "ByPattern",
    "Candidate",
    "Choice",
    "Chosen",
    "Declared",
    "Dense",
    "Energy",
    "Form",
    "LatencyBudget",
    "LayerRule",
    "MacsBudget",
    "NumericalRank",
    "ParamsBudget",
    "Problem",
    "RankRule",
    "Share",
    "SizeBudget",
    "as_chosen",
    "as_patterns",
    "check_patterns",
    "get",
    "is_cheaper",
    "matches",
]
