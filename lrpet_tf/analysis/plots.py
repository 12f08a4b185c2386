"""The pictures of a model and its plans."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping

import keras
import numpy as np

from lrpet_tf import ranks
from lrpet_tf.analysis.reading import read_plans
from lrpet_tf.analysis.sweep import SHARES, Sweep
from lrpet_tf.costs import count_macs
from lrpet_tf.errors import BudgetError, LowRankError
from lrpet_tf.plan import Plan, check_plan
from lrpet_tf.planning import spectra
from lrpet_tf.ranks import Budget, MacsBudget, ParamsBudget, RankRule
from lrpet_tf.report import check_picture, draw_spectra, energy_kept, write_picture


def plot_spectra(model: keras.Model, plan: Plan, path: str | os.PathLike | None = None):
    """Draws where a plan cuts each layer: its singular values, the rank, and the share of the energy that the rank keeps.

    The singular values are those of the kernel as it is now, as the batch norm that follows scales it. Each layer has
    a panel of its own; in a plan of more than two dozen layers it has a strip.

    Args:
        model: The model.
        plan: A plan for it.
        path: Picture to write, whole or not at all; the suffix gives the format. `None` writes nothing.

    Returns:
        The matplotlib figure.

    Raises:
        MissingExtraError: matplotlib is not installed.
        LowRankError: The plan factorizes no layer, or the picture cannot be written there.
        PlanMismatchError: The plan was made for another model.
        NonFiniteKernelError: A kernel holds NaN or infinity.
    """
    check_picture(path)
    if not check_plan(plan).layers:
        raise LowRankError(
            f"Expected a plan that factorizes at least one layer. Received: one that leaves all "
            f"{len(plan.skipped)} as they are. Lower the rank; print(plan) shows the reason layer by layer."
        )
    return _written(_draw_spectra(spectra(model, plan), plan), path)


def plot_budget(
    model: keras.Model,
    path: str | os.PathLike | None = None,
    *,
    budget: Callable[[float], RankRule] = MacsBudget,
    shares: Iterable[float] = SHARES,
    cost: Callable[[Plan], float | None] | None = None,
    **plan_options,
):
    """Draws how much energy the kernels keep at which cost, over budgets, beside what a uniform share of the ranks keeps.

    The energy is averaged over the layers that the plans choose for, and the least of them is drawn as well; a layer that
    a plan leaves dense keeps all of its energy. Budgets that cannot be reached are left out, and the least that can be is
    marked.

    Args:
        model: A built model. It is not changed.
        path: Picture to write, whole or not at all; the suffix gives the format. `None` writes nothing.
        budget: Gives the rule of a share: `MacsBudget`, `ParamsBudget`, `LatencyBudget`, or a function such as
            `lambda share: LatencyBudget(share, table=table)`.
        shares: Shares of the dense model's cost, in (0, 1].
        cost: Gives what a plan costs as a share of the dense model; `None` where it is unknown. By default what the budget
            counts, or multiply-accumulates where the rule is no budget.
        **plan_options: `decomposition`, `include`, `exclude` and `keep_if_no_gain` of `make_plan`.

    Returns:
        The matplotlib figure.

    Raises:
        MissingExtraError: matplotlib is not installed.
        LowRankError: A share is out of range, the picture cannot be written there, or as in `make_plan`.
        NothingToFactorizeError: The model has no layer that can be factorized.
        BudgetError: No budget can be reached.
    """
    check_picture(path)
    sweep = Sweep(budget, shares, cost)
    problem, plans = read_plans(model, sweep.rules, **plan_options)
    return _written(sweep.draw(model, problem, plans), path)


def analyze(model: keras.Model, rank, **plan_options) -> tuple[Plan, dict[str, Callable]]:
    """Makes a plan and gets ready to draw it, and budgets beside it; the weights are read once.

    Args:
        model: The model.
        rank: As in `make_plan`. Where it is a budget, the budgets that are drawn are of its kind.
        **plan_options: `decomposition`, `include`, `exclude` and `keep_if_no_gain` of `make_plan`.

    Returns:
        The plan, and by name, `"spectra"` and `"budget"`, what draws a matplotlib figure. One that
        has nothing to draw is left out.

    Raises:
        LowRankError: As in `make_plan`.
    """
    rule = ranks.get(rank)
    sweep = Sweep(_budgets_like(rule, model))
    problem, (plan, *plans) = read_plans(model, [rule, *sweep.rules], **plan_options)
    if isinstance(plan, BudgetError):
        raise plan
    drawings: dict[str, Callable] = {}
    if plan.layers:
        by_form = {(each.path, form.name): form.spectrum for each in problem.candidates for form in each.forms}
        drawings["spectra"] = lambda: _draw_spectra({path: by_form[path, plan[path].decomposition] for path in plan}, plan)
    if problem.candidates:
        drawings["budget"] = lambda: sweep.draw(model, problem, plans)
    return plan, drawings


def _budgets_like(rule: RankRule, model: keras.Model) -> Callable[[float], RankRule]:
    """Returns the budgets to draw beside a rule: of its own kind, else of multiply-accumulates, else of weights."""
    if isinstance(rule, Budget):
        amount = {"ms": None} if hasattr(rule, "ms") else {}
        return lambda share: dataclasses.replace(rule, limit=share, **amount)
    try:
        count_macs(model)
    except LowRankError:  # a size is unknown
        return ParamsBudget
    return MacsBudget


def _draw_spectra(values: Mapping[str, np.ndarray], plan: Plan):
    kept = np.mean([energy_kept(values[path], plan[path].rank) for path in plan])
    title = f"Singular values and cuts: {len(plan)} layer{'s' * (len(plan) > 1)}, {kept:.3f} of the energy kept on average"
    return draw_spectra(
        {path: {"singular values": values[path]} for path in plan}, {path: plan[path].rank for path in plan}, title=title
    )


def _written(figure, path: str | os.PathLike | None):
    if path is not None:
        write_picture(figure, path)
    return figure
