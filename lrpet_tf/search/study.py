"""The study: where the trials are kept, and how it goes on after an interruption."""

import contextlib
import json
import os
import pathlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from lrpet_tf.errors import LowRankError, require

_IDENTITY = "lrpet_tf search 1"
# Proposals over the budget cost next to nothing and are not counted, but there is an end to them.
_PROPOSALS_PER_TRIAL = 10
# Difference of the dense model's score that tells that the model or the data are others.
_NOTICEABLE = 1e-3

PRUNERS: dict[str, Callable] = {
    "median": lambda optuna: optuna.pruners.MedianPruner(n_startup_trials=5),
    "halving": lambda optuna: optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2),
}


def _optuna():
    return require("optuna", "'lrpet-tf[search]'")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Lets Optuna log warnings alone, as long as it lasts."""
    logging = _optuna().logging
    before = logging.get_verbosity()
    logging.set_verbosity(max(before, logging.WARNING))
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _get_pruner(pruner):
    optuna = _optuna()
    if pruner is None:
        return optuna.pruners.NopPruner()
    if isinstance(pruner, optuna.pruners.BasePruner):
        return pruner
    if not isinstance(pruner, str) or pruner not in PRUNERS:
        raise LowRankError(f"`pruner` must be one of {sorted(PRUNERS)}, an Optuna pruner, or None. Received: pruner={pruner!r}")
    return PRUNERS[pruner](optuna)


def _get_storage(storage):
    """Returns a URL or an Optuna storage as it is, and makes a path a URL of an SQLite file."""
    if isinstance(storage, os.PathLike) or (isinstance(storage, str) and "://" not in storage):
        pathlib.Path(storage).parent.mkdir(parents=True, exist_ok=True)
        return f"sqlite:///{pathlib.Path(storage)}"
    return storage


def open_study(storage, name: str, pruner, identity: Mapping):
    """Opens a study, a new one or one to go on with.

    Args:
        storage: `None` for the memory, the path of an SQLite file, a database URL, or an Optuna storage.
        name: Name of the study.
        pruner: Name of a pruner, an Optuna pruner, or `None`.
        identity: What must be the same for the study to go on, as JSON takes it.

    Returns:
        An Optuna study that maximises.

    Raises:
        LowRankError: The study of that name was made with other settings, or by something else.
    """
    study = _optuna().create_study(
        storage=_get_storage(storage), study_name=name, pruner=_get_pruner(pruner), direction="maximize", load_if_exists=True
    )
    wanted = json.loads(json.dumps(identity))
    found = study.user_attrs.get(_IDENTITY)
    if found is None and not study.get_trials(deepcopy=False):
        study.set_user_attr(_IDENTITY, wanted)
    elif found != wanted:
        _refuse(name, found or {}, wanted)
    return study


def _refuse(name: str, found: Mapping, wanted: Mapping) -> None:
    other = [key for key in wanted if found.get(key) != wanted[key]]
    raise LowRankError(
        f"The storage holds a study '{name}' that was made with other settings, so it cannot go on: "
        + "; ".join(f"{key}={found.get(key)!r} then, {wanted[key]!r} now" for key in other)
        + f". Received: study_name={name!r}. Give another `study_name` or `storage`, or the settings of then."
    )


def check_same_model(study, score: float) -> None:
    """Warns where the dense model scores otherwise than when the study began."""
    before = study.user_attrs.get("dense_score")
    if before is None:
        study.set_user_attr("dense_score", score)
    elif abs(before - score) > _NOTICEABLE:
        warnings.warn(
            f"The dense model scored {before:.4f} when the study '{study.study_name}' began, and scores {score:.4f} now: the "
            "model or the data are others, and the trials of then and now do not compare. Give another `study_name`.",
            stacklevel=3,
        )


def finished(study) -> list:
    """Returns the trials that came to an end; those of an interrupted run that did not are left out."""
    states = _optuna().trial.TrialState
    return study.get_trials(deepcopy=False, states=(states.COMPLETE, states.PRUNED))


def was_scored(trial) -> bool:
    """Returns whether a trial was scored, wholly or in part, and so was within the budget."""
    return "score" in trial.user_attrs


def _sampler(seed: int, done: int, starts: Sequence[Mapping[str, float]]):
    """Returns a sampler that depends on the trials that are done and on nothing else: an interruption changes nothing."""
    samplers = _optuna().samplers
    own_seed = int(np.random.SeedSequence([seed, done]).generate_state(1)[0])
    sampler = samplers.TPESampler(seed=own_seed, constant_liar=False)
    if done >= len(starts):
        return sampler
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", _optuna().exceptions.ExperimentalWarning)
        return samplers.PartialFixedSampler(dict(starts[done]), sampler)


def optimise(study, objective, trials: int, seed: int, starts: Sequence, progress: Callable[[int], None]) -> None:
    """Makes trials until as many as wanted are scored in all; those over the budget do not count.

    Args:
        study: The study.
        objective: What makes a trial.
        trials: Trials to score in all, those of earlier runs included.
        seed: Seed of the sampler.
        starts: Ratios to try first.
        progress: Is told the number of scored trials, at first and after each.

    Warns:
        UserWarning: Nearly all proposals are over the budget, so that the search ends early.
    """
    while True:
        done = finished(study)
        scored = sum(map(was_scored, done))
        progress(scored)
        if scored >= trials:
            return
        if len(done) >= _PROPOSALS_PER_TRIAL * max(trials, 10):
            warnings.warn(
                f"The search ends after {scored} of {trials} trials: nearly all proposals, {len(done) - scored} of them, are "
                "over the budget. Raise `budget` or lower `low`.",
                stacklevel=3,
            )
            return
        study.sampler = _sampler(seed, len(done), starts)
        study.optimize(objective, n_trials=1)
