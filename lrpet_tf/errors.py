"""The errors that the library raises, and their wording.

Each says what was expected, names the layer and the value received, and gives the way out.
"""

import importlib
from collections.abc import Mapping
from types import ModuleType


class LowRankError(ValueError):
    """Base of every error of this library; catch it to catch them all."""


class RankError(LowRankError):
    """A rank that no layer, or not this layer, can have.

    Args:
        received: The offending value.
        full_rank: The full rank of the layer, where the layer sets the limit.
        path: Path of the layer, where there is one.
    """

    def __init__(self, received: object, full_rank: int | None = None, path: str | None = None):
        where = f" of layer '{path}'" if path else ""
        limit = f" at most the full rank, {full_rank}" if full_rank is not None else ""
        super().__init__(
            f"The rank{where} must be a share of the full rank, as a float in (0, 1], or a whole number of at least 1 and"
            f"{limit or ' at most the full rank'}. Received: rank={received!r}. "
            "Give a share such as rank=0.5, a rule such as MacsBudget(0.5), a dict of layer-path patterns to these, or leave "
            "the layer out with `exclude`."
        )


class PatternError(LowRankError):
    """A layer-path pattern that selects nothing.

    Args:
        argument: Name of the argument that holds the pattern.
        pattern: The pattern.
        why: What is wrong with it.
        paths: Paths that can be matched.
    """

    def __init__(self, argument: str, pattern: object, why: str, paths: tuple[str, ...]):
        shown = ", ".join(f"'{path}'" for path in paths[:8]) + (", …" if len(paths) > 8 else "")
        super().__init__(
            f"`{argument}` holds the pattern {pattern!r}, which {why}. A pattern is a regular expression that must match a "
            f"whole layer path; 'block1/.*' matches all of a nested model. The paths are: {shown or 'none'}."
        )


class UnsupportedModelError(LowRankError):
    """A model whose layers and their calls cannot be read."""

    def __init__(self, model: object, why: str):
        name = f" '{model.name}'" if hasattr(model, "name") else ""
        super().__init__(
            f"Expected a built keras.Model, Functional, Sequential or subclassed; {why}. "
            f"Received: model{name} of class {type(model).__name__}."
        )


class PlanMismatchError(LowRankError):
    """A plan that was made for another model."""

    def __init__(self, model_name: str, path: str, why: str):
        super().__init__(
            f"The plan was made for another model: {why} at layer path '{path}' of model '{model_name}'. "
            "Make a plan for this model with lrpet_tf.make_plan(model, rank=…)."
        )


class MissingAdapterError(PlanMismatchError):
    """A plan that was saved without the adapter of one of its layers."""

    def __init__(self, model_name: str, path: str, kind: str):
        LowRankError.__init__(
            self,
            f"The plan holds layer '{path}' of model '{model_name}', of type {kind}, and no adapter for this type: adapters "
            "are not saved with a plan. Give them: factorize(model, plan, adapters={…}), or "
            "plan.with_adapters({…}) for anything else (docs/adapters.md). A model that was saved with a ProjectingOptimizer "
            "is loaded with compile=False, and compiled with one of such a plan.",
        )


class NonFiniteKernelError(LowRankError):
    """A kernel, or the scale of its batch norm, that holds NaN or infinity."""

    def __init__(self, path: str, what: str = "kernel", when: str = ""):
        super().__init__(
            f"The {what} of layer '{path}' holds NaN or infinite values{when}; nothing was projected or rewritten. Training "
            "has diverged: lower the learning rate, clip gradients (clipnorm=1.0), or go back to an earlier checkpoint."
        )


class NothingToFactorizeError(LowRankError):
    """No layer of a model would become cheaper."""

    def __init__(self, why: str):
        super().__init__(
            f"There is nothing to factorize: {why}. Lower the rank, train with LRPETCallback first, pass a plan from "
            "make_plan(model, rank=…), or set keep_if_no_gain=True. print(make_plan(…)) shows the reason layer by layer."
        )


class BudgetError(LowRankError):
    """A budget that no ranks can meet.

    Args:
        rule: The rule, as it is written.
        limit: What it allows, as text.
        least: The least that can be reached, as text.
        dense: What the dense model has, as text.
        share: The least as a share of the dense model's.
        fixed: What the layers have that stay as they are, as text.

    Attributes:
        least_share: The least that can be reached, as a share of the dense model's.
    """

    def __init__(self, rule: str, limit: str, least: str, dense: str, share: float, fixed: str):
        super().__init__(
            f"The budget of {rule}, {limit}, cannot be reached. The least that can be reached is {least}, {share:.4f} of the "
            f"dense model's {dense}; {fixed} of it belong to layers that stay as they are. Raise the budget, or lower "
            "`min_rank` and `multiple_of`, or plan more layers."
        )
        self.least_share = share


class UnsupportedLayersError(LowRankError):
    """Layers that another package cannot take.

    Args:
        model_name: Name of the model.
        what: What they cannot be, such as "quantized by tensorflow-model-optimization".
        layers: By path, the type of the layer and the reason.
        way_out: What to do about it.

    Attributes:
        paths: The paths.
    """

    def __init__(self, model_name: str, what: str, layers: Mapping[str, tuple[str, str]], way_out: str):
        listed = "".join(f"\n- '{path}' ({kind}): {why}" for path, (kind, why) in layers.items())
        count = f"{len(layers)} layer{'s' * (len(layers) > 1)}"
        super().__init__(f"{count} of model '{model_name}' cannot be {what}:{listed}\n{way_out}")
        self.paths = tuple(layers)


class ExportError(LowRankError):
    """A model that could not be exported, or whose exported file does not agree with it."""


class TfliteFileError(LowRankError):
    """A file that is no LiteRT model, or not all of one.

    Args:
        path: The file.
        why: What is wrong with it.
    """

    def __init__(self, path: object, why: str):
        super().__init__(f"Expected a LiteRT model, a whole .tflite file; {why}. Received: '{path}'. Export or copy it again.")


class MissingExtraError(LowRankError, ImportError):
    """An optional package that is not installed."""

    def __init__(self, module: str, requirement: str):
        super().__init__(
            f"This needs the module '{module}', which is not installed. Install it with: pip install {requirement}"
        )


def require(module: str, requirement: str) -> ModuleType:
    """Imports an optional package where it is used.

    Args:
        module: Name of the module, such as `"matplotlib.pyplot"`.
        requirement: What to install when it is missing, such as `"'lrpet-tf[plot]'"`.

    Returns:
        The module.

    Raises:
        MissingExtraError: The package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(module, requirement) from error
