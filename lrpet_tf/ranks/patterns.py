"""Patterns of layer paths: regular expressions that must match a whole path."""

import re
from collections.abc import Mapping, Sequence

from lrpet_tf.errors import PatternError
from lrpet_tf.ranks.base import Candidate, RankRule


def as_patterns(value) -> tuple[str, ...]:
    """Returns one pattern, several, or `None`, as a tuple."""
    if value is None:
        return ()
    return (value,) if isinstance(value, (str, re.Pattern)) else tuple(value)


def matches(pattern: str, path: str) -> bool:
    """Returns whether a pattern matches a whole path."""
    return re.fullmatch(pattern, path) is not None


def check_patterns(argument: str, patterns: Sequence[str], reasons: Mapping[str, str | None], *, usable: bool) -> None:
    """Checks that each pattern selects something.

    Args:
        argument: Name of the argument that the patterns came in, for the message.
        patterns: The patterns.
        reasons: For each layer path, why it cannot be factorized, or `None` where it can.
        usable: Whether a pattern must match a layer that can be factorized, rather than any layer.

    Raises:
        PatternError: A pattern is no regular expression, matches no layer, or none that can be factorized.
    """
    paths = tuple(reasons)
    for pattern in patterns:
        try:
            matched = [path for path in paths if matches(pattern, path)]
        except (re.error, TypeError) as error:
            raise PatternError(argument, pattern, f"is not a regular expression ({error})", paths) from error
        if not matched:
            raise PatternError(argument, pattern, "matches no layer", paths)
        if usable and all(reasons[path] is not None for path in matched):
            why = f"matches only layers that cannot be factorized: '{matched[0]}', {reasons[matched[0]]}"
            raise PatternError(argument, pattern, why, tuple(path for path in paths if reasons[path] is None))


class ByPattern(RankRule):
    """Applies another rule to the layers of each pattern; the first pattern that matches a layer counts.

    Args:
        rules: Rules by pattern. Layers that no pattern matches stay dense.
    """

    def __init__(self, rules: Mapping[str, RankRule]):
        self.rules = dict(rules)

    def choose(self, candidates: Sequence[Candidate]) -> dict[str, int]:
        """See `RankRule.choose`; each rule sees the layers of its own pattern together."""
        groups: dict[str, list[Candidate]] = {pattern: [] for pattern in self.rules}
        for candidate in candidates:
            first = next((pattern for pattern in self.rules if matches(pattern, candidate.path)), None)
            if first is not None:
                groups[first].append(candidate)
        ranks: dict[str, int] = {}
        for pattern, group in groups.items():
            ranks.update(self.rules[pattern].choose(group))
        return ranks
