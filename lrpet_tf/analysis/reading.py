"""Several plans of one model, its weights read once, with a progress bar."""

from collections.abc import Sequence

import keras

from lrpet_tf.errors import BudgetError
from lrpet_tf.plan import Plan
from lrpet_tf.planning import Planner
from lrpet_tf.ranks import Problem, RankRule
from lrpet_tf.report import track


def read_plans(model: keras.Model, rules: Sequence[RankRule], **plan_options) -> tuple[Problem, list[Plan | BudgetError]]:
    """Returns what there is to decide on, its spectra read, and the plan of each rule; shows how far it is."""
    planner = Planner(model, **plan_options)
    planner.read_spectra()
    return planner.problem, [planner.attempt(rule) for rule in track(rules, "Making plans")]
