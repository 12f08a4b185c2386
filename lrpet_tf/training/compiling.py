"""One compiled function out of Python code that reads and assigns variables, on each backend."""

from collections.abc import Callable, Sequence

import keras


def compiled(function: Callable, reads: Sequence[keras.Variable], writes: Sequence[keras.Variable]) -> Callable:
    """Compiles a function; it is traced once.

    Args:
        function: Takes and returns tensors, and reads and assigns variables.
        reads: Variables that it reads only.
        writes: Variables that it assigns; where the backend can, in place.

    Returns:
        A function of the same arguments and results. On PyTorch it is the function itself, without gradients.
    """
    return _COMPILERS[keras.backend.backend()](function, reads, writes)


def _tensorflow(function, reads, writes):
    import tensorflow as tf

    return tf.function(function, autograph=False)


def _jax(function, reads, writes):
    import jax

    def pure(written, read, *args):
        return stateless(function, (*writes, *reads), writes)((*written, *read), *args)

    # Arrays on several devices stay where they are. On one device nothing is said: arrays that are bound to it are of another
    # kind to JAX, which would compile this function, and the training step, a second time.
    shardings = [variable.value.sharding for variable in writes]
    is_spread = any(len(each.device_set) > 1 for each in shardings)
    made = jax.jit(pure, donate_argnums=0, **({"out_shardings": (None, shardings)} if is_spread else {}))

    def call(*args):
        results, values = made([each.value for each in writes], [each.value for each in reads], *args)
        for variable, value in zip(writes, values, strict=True):
            variable.assign(value)
        return results

    return call


def _torch(function, reads, writes):
    import torch

    return torch.no_grad()(function)


_COMPILERS = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}


def stateless(function: Callable, variables: Sequence[keras.Variable], writes: Sequence[keras.Variable]) -> Callable:
    """Turns a function that assigns variables into one without side effects.

    Args:
        function: The function.
        variables: What it reads or assigns.
        writes: What it assigns.

    Returns:
        A function of the values of `variables` and the arguments; it returns the results, and the new values of `writes`.
    """

    def pure(values, *args):
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))) as scope:
            results = function(*args)
        return results, [scope.get_current_value(variable) for variable in writes]

    return pure
