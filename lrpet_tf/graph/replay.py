"""Running a model's graph operation by operation: the one mechanism under reading and rewriting."""

from collections.abc import Callable

import keras

from lrpet_tf.errors import UnsupportedModelError


def is_graph(operation) -> bool:
    """Returns whether an operation is a model whose graph says all: Functional or Sequential, its `call` not overridden."""
    is_model = isinstance(operation, (keras.Sequential, keras.Function)) and isinstance(operation, keras.Model)
    return is_model and type(operation).call.__module__.startswith("keras.")


def has_graph(operation) -> bool:
    """Returns whether an operation is a model with a graph, be it that its `call` does more than run it."""
    return isinstance(operation, (keras.Sequential, keras.Function)) and bool(getattr(operation, "inputs", None))


def input_layer(tensor: keras.KerasTensor) -> keras.layers.InputLayer:
    """Returns the layer that an input tensor of a model comes from."""
    return tensor._keras_history.operation


def model_input(model: keras.Model):
    """Returns the structure of input tensors of a Functional or Sequential model; that of a Sequential is the tensor alone."""
    return model.inputs[0] if isinstance(model, keras.Sequential) else model.input


def check_built(model) -> None:
    """Checks that the calls of a model can be read.

    Raises:
        UnsupportedModelError: Not a Keras model, or one that is not built.
    """
    if not isinstance(model, keras.Model):
        raise UnsupportedModelError(model, "this is not a keras.Model")
    known = getattr(model, "inputs", None) or (not is_graph(model) and model._build_shapes_dict and model.weights)
    if not model.built or not known:
        raise UnsupportedModelError(
            model, "this one is not built: give it a keras.Input, or call it once on data of the right shape"
        )


def replay(model: keras.Model, inputs, call: Callable):
    """Runs the graph of one model, without entering the models nested in it.

    Args:
        model: A built Functional or Sequential model.
        inputs: A structure as the model takes, of whatever `call` works on.
        call: `call(operation, args, kwargs)` is asked in topological order for the outputs of each operation.

    Returns:
        A structure as the model returns.
    """
    if isinstance(model, keras.Sequential):
        (outputs,) = keras.tree.flatten(inputs)
        for layer in model.layers:
            outputs = call(layer, (outputs,), {})
        return outputs
    # Keras has no public way to run a graph with another call in place of each layer's own, other than `clone_model`, which
    # insists on building a model; the configuration says the same, but not for subclasses with a `get_config` of their own.
    return model._run_through_graph(inputs, call_fn=lambda operation, *args, **kwargs: call(operation, args, kwargs))
