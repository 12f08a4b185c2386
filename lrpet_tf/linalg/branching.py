"""A choice that is made on the device."""

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
    if keras.backend.backend() == "jax":
        import jax

        if not isinstance(condition, jax.core.Tracer):
            return yes() if condition else no()
    return ops.cond(condition, yes, no)
