"""Choices and loops that are made on the device."""

import keras
from keras import ops


def branch(condition, yes, no):
    """Returns `yes()` or `no()`; only that one is computed.

    As `keras.ops.cond`, but a condition whose value is known chooses at once: JAX would compile both anew at each call.

    Args:
        condition: Boolean scalar tensor.
        yes: A function without arguments.
        no: Another, whose results have the same structure, shapes and types.
    """
    if _is_known(condition):
        return yes() if condition else no()
    return ops.cond(condition, yes, no)


def loop(condition, body, state: tuple, limit: int) -> tuple:
    """Returns `body(*body(*…state))`, for as long as `condition(*state)` holds and at most `limit` times.

    As `keras.ops.while_loop`, but with a condition whose value is known the steps are taken one after the other.

    Args:
        condition: A function of the state that returns a boolean scalar tensor.
        body: A function of the state that returns another of the same structure, shapes and types.
        state: A tuple of tensors.
        limit: Largest number of steps.
    """
    if not _is_known(condition(*state)):
        return ops.while_loop(condition, body, tuple(state), maximum_iterations=limit)
    for _ in range(limit):
        if not condition(*state):
            break
        state = body(*state)
    return state


def _is_known(condition) -> bool:
    """Returns whether a condition has a value already on JAX, where its control flow would be compiled at every call."""
    if keras.backend.backend() != "jax":
        return False
    import jax

    return not isinstance(condition, jax.core.Tracer)
