"""Patterns of layer paths: regular expressions that must match a whole path."""

import dataclasses
import re
from collections.abc import Mapping, Sequence

from lrpet_tf.errors import PatternError
from lrpet_tf.ranks.base import Chosen, Problem, RankRule, as_chosen


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


@dataclasses.dataclass(frozen=True, repr=False)
class ByPattern(RankRule):
    """Applies another rule to the layers of each pattern; the first pattern that matches a layer counts.

    Attributes:
        rules: Rules by pattern. Layers that no pattern matches stay dense.
    """

    rules: Mapping[str, RankRule]

    @property
    def reads_weights(self) -> bool:
        """Whether one of the rules does."""
        return any(rule.reads_weights for rule in self.rules.values())

    def _parts(self, problem: Problem) -> dict[str, Problem]:
        paths: dict[str, set[str]] = {pattern: set() for pattern in self.rules}
        for path in (*(each.path for each in problem.candidates), *problem.others):
            first = next((pattern for pattern in self.rules if matches(pattern, path)), None)
            if first is not None:
                paths[first].add(path)
        return {pattern: problem.restrict(group) for pattern, group in paths.items()}

    def choose(self, problem: Problem) -> Chosen:
        """See `RankRule.choose`; each rule sees the layers of its own pattern together."""
        choices, notes = {}, []
        for pattern, part in self._parts(problem).items():
            chosen = as_chosen(self.rules[pattern].choose(part))
            choices.update(chosen.choices)
            notes += [f"{pattern}: {chosen.note}"] if chosen.note else []
        return Chosen(choices, "; ".join(notes))
