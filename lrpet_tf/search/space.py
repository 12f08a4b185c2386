"""What is searched: a ratio for each layer, or for each group of layers."""

import re
from collections.abc import Mapping

import keras

from lrpet_tf import ranks
from lrpet_tf.errors import LowRankError, NothingToFactorizeError
from lrpet_tf.plan import Plan
from lrpet_tf.planning import make_plan
from lrpet_tf.ranks import Share

_PLAN_OPTIONS = ("decomposition", "include", "exclude", "adapters")


class SearchSpace:
    """The ratios that a search chooses, each in [`low`, 1], and the plans that they stand for.

    A ratio is the share of the full rank that is kept, of every layer of its group. Layers that save nothing at their ratio
    stay dense, at a ratio of 1 all of them; layers that save nothing even at `low` are not searched.

    Args:
        model: The model.
        groups: `"layer"`, or a dict of names to patterns of layer paths, one or several each. The first group that matches a
            layer counts; layers of no group stay dense.
        low: Least ratio.
        plan_options: `decomposition`, `include`, `exclude` and `adapters` of `make_plan`.

    Attributes:
        names: Names of the ratios: layer paths, or names of groups.
        members: Paths of the layers of each.

    Raises:
        LowRankError: `groups` is something else, or a group has no layer that could become cheaper.
        PatternError: A pattern of a group matches no layer, or none that can be factorized.
        NothingToFactorizeError: No layer would become cheaper.
        TypeError: An option of plans is unknown.
    """

    def __init__(self, model: keras.Model, groups, low: float, plan_options: Mapping):
        unknown = set(plan_options) - set(_PLAN_OPTIONS)
        if unknown:
            raise TypeError(f"search_ranks() got an unexpected keyword argument '{min(unknown)}'")
        self._model, self._options, self._low = model, dict(plan_options), low
        able = make_plan(model, Share(low), keep_if_no_gain=True, **self._options)
        saving = make_plan(model, Share(low), **self._options)
        if not saving.layers:
            raise NothingToFactorizeError(f"no layer would become cheaper even at the ratio low={low:g}")
        self._patterns = self._read(groups, able, saving)
        first = {path: self._first(path) for path in saving}
        self.members = {name: tuple(path for path in saving if first[path] == name) for name in self._patterns}
        self.names = tuple(self.members)
        for name, paths in self.members.items():
            if not paths:
                raise LowRankError(
                    f"Group '{name}' has no layer to search: those that its pattern matches belong to a group before it, or "
                    f"would not become cheaper even at the ratio low={low:g}. Received: groups={groups!r}. Leave it out, put "
                    "it first, or lower `low`."
                )

    def _read(self, groups, able: Plan, saving: Plan) -> dict[str, str]:
        """Returns one pattern for each name."""
        if isinstance(groups, str) and groups == "layer":
            return {path: re.escape(path) for path in saving}
        if not isinstance(groups, Mapping) or not groups:
            raise LowRankError(
                f"`groups` must be 'layer', or a dict of names to patterns of layer paths. Received: groups={groups!r}"
            )
        reasons = {**dict.fromkeys(able), **{skipped.path: skipped.reason for skipped in able.skipped}}
        found = {}
        for name, given in groups.items():
            patterns = ranks.as_patterns(given)
            ranks.check_patterns("groups", patterns, reasons, usable=True)
            texts = [pattern.pattern if isinstance(pattern, re.Pattern) else pattern for pattern in patterns]
            found[str(name)] = "|".join(f"(?:{text})" for text in texts)
        return found

    def _first(self, path: str) -> str | None:
        return next((name for name, pattern in self._patterns.items() if ranks.matches(pattern, path)), None)

    def plan(self, ratios: Mapping[str, float]) -> Plan:
        """Returns the plan of some ratios.

        Args:
            ratios: A ratio for each name.

        Returns:
            The plan; with `decomposition="auto"` the forms are those that keep most of the weights as they are now.
        """
        return make_plan(self._model, {self._patterns[name]: Share(ratios[name]) for name in self.names}, **self._options)

    def all_at(self, ratio: float) -> dict[str, float]:
        """Returns the same ratio for all names."""
        return dict.fromkeys(self.names, float(ratio))

    def of_plan(self, plan: Plan) -> dict[str, float]:
        """Returns the ratios that stand for a plan: the largest of each group, 1 where a layer stays dense."""
        ratios = {}
        for name, paths in self.members.items():
            kept = max(plan[path].rank / plan[path].full_rank if path in plan else 1.0 for path in paths)
            ratios[name] = min(1.0, max(self._low, kept))
        return ratios

    def suggest(self, trial) -> dict[str, float]:
        """Returns the ratios that Optuna proposes for a trial, log-uniform in [`low`, 1] as long as it knows nothing."""
        return {name: trial.suggest_float(name, self._low, 1.0, log=True) for name in self.names}
