"""Copies of layers, with their state, for layers whose configuration alone does not say everything."""

import tempfile
from collections.abc import Callable

import keras
import numpy as np
from keras import layers, ops

from lrpet_tf.errors import LowRankError


def copy_operation(operation: keras.Operation, config: dict | None = None) -> keras.Operation:
    """Returns an unbuilt copy of a layer or operation that shares no state with it.

    Functions that a layer holds, such as an activation of one's own, are taken from the layer itself, so they need not be
    registered.

    Args:
        operation: The layer or operation.
        config: A configuration to use instead of its own.
    """
    if config is None and _tells_arguments_alone(operation):
        return _construct(operation)
    try:
        config = operation.get_config() if config is None else config
    except NotImplementedError as error:
        raise LowRankError(
            f"{type(operation).__name__} '{operation.name}' cannot be copied: its arguments are not known. Give the class "
            f"{type(operation).__name__} a get_config that returns the arguments of its __init__."
        ) from error
    if type(operation) is layers.Lambda:
        return _copy_lambda(operation, config)
    with keras.utils.custom_object_scope(_known_objects(operation)):
        return type(operation).from_config(config)


def _known_objects(operation) -> dict:
    """Returns the functions that a layer holds, and the classes of the layers in it, so that none needs to be registered."""
    functions = {value.__name__: value for value in vars(operation).values() if callable(value) and hasattr(value, "__name__")}
    inside = operation._flatten_layers() if isinstance(operation, layers.Layer) else ()
    return {type(each).__name__: type(each) for each in inside if not type(each).__module__.startswith("keras.")} | functions


def _tells_arguments_alone(operation) -> bool:
    """Returns whether the configuration of a layer of the user's own is nothing but the arguments of its constructor."""
    kind, base = type(operation), keras.Model if isinstance(operation, keras.Model) else layers.Layer
    ours = kind.__module__.startswith("keras.") or not isinstance(operation, layers.Layer)
    return not ours and kind.get_config is base.get_config and getattr(operation, "_auto_config", None) is not None


def _construct(operation: layers.Layer) -> layers.Layer:
    """Makes a layer anew from the arguments that Keras has noted: its class need not take a name or a dtype."""
    copy = type(operation)(**operation._auto_config.config)
    copy.name = operation.name
    copy.dtype_policy = operation.dtype_policy
    return copy


def _copy_lambda(layer: layers.Lambda, config: dict) -> layers.Lambda:
    options = {key: config[key] for key in ("name", "trainable", "dtype")}
    return layers.Lambda(
        layer.function, output_shape=layer._output_shape, mask=layer.mask, arguments=layer.arguments, **options
    )


def carry_state(source: keras.layers.Layer, copy: keras.layers.Layer) -> None:
    """Gives a copy the variables of its source, and the state that is kept beside them, such as vocabularies.

    Args:
        source: A built layer.
        copy: A built copy of it.
    """
    if [tuple(v.shape) for v in source.variables] != [tuple(v.shape) for v in copy.variables]:
        raise LowRankError(
            f"A copy of {type(source).__name__} '{source.name}', made from its configuration, has other weights than the layer "
            "itself. Let get_config return all that its weights depend on, and let it make them in __init__ or build."
        )
    for variable, target in zip(source.variables, copy.variables, strict=True):
        # A true copy: JAX gives the buffers of a model away when it trains or predicts.
        target.assign(ops.copy(variable))
    for original, twin in zip(source._flatten_layers(), copy._flatten_layers(), strict=True):
        _carry_settings(original, twin)
        twin.name = original.name  # layers inside may have been named automatically
        if _is_overridden(twin, "save_assets"):
            with tempfile.TemporaryDirectory() as folder:
                original.save_assets(folder)
                twin.load_assets(folder)
        elif hasattr(twin, "finalize_state"):
            twin.finalize_state()


def _is_overridden(layer: keras.layers.Layer, method: str) -> bool:
    return getattr(type(layer), method, None) is not getattr(keras.layers.Layer, method, None)


_PLAIN = (bool, int, float, complex, str, bytes, np.ndarray, np.generic, type(None))


def _carry_settings(original: keras.layers.Layer, twin: keras.layers.Layer) -> None:
    """Gives the copy of a layer of the user's own its plain attributes, and checks that one of Keras has the same options.

    Keras does not note the arguments of models, and a `get_config` may forget one.
    """
    if not type(original).__module__.startswith("keras."):
        for name, value in vars(original).items():
            if not name.startswith("_") and _is_plain(value):
                setattr(twin, name, carried(value, lambda layer: layer))
    elif not original._layers and not isinstance(original, layers.InputLayer) and _options(original) != _options(twin):
        raise LowRankError(
            f"The copy of a model, or of a layer that is made of layers, has another {type(original).__name__} in the place of "
            f"'{original.name}'. Give the class that makes it a get_config that returns all arguments of its __init__."
        )


def _is_plain(value) -> bool:
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    return all(map(_is_plain, value)) if isinstance(value, (list, tuple)) else isinstance(value, _PLAIN)


def _options(layer: keras.layers.Layer) -> dict:
    ignored = ("name", "dtype", "trainable")
    return {key: value for key, value in layer.get_config().items() if key not in ignored}


def carried(value, layer: Callable):
    """Returns an attribute of a model for its copy, which shares no state with the model.

    Args:
        value: The attribute: a list, a dict, an object of Keras with a state, or anything else, which is taken as it is.
        layer: `layer(source)` gives the layer in the place of one.
    """
    if isinstance(value, dict):
        return {key: carried(each, layer) for key, each in value.items()}
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return (tuple if isinstance(value, tuple) else list)(carried(each, layer) for each in value)
    if isinstance(value, keras.layers.Layer):
        return layer(value)
    if isinstance(value, (keras.metrics.Metric, keras.optimizers.Optimizer)):
        return type(value).from_config(value.get_config())
    if isinstance(value, keras.random.SeedGenerator):
        twin = keras.random.SeedGenerator(value._initial_seed, name=value.name)
        twin.state.assign(ops.copy(value.state))
        return twin
    if isinstance(value, keras.Variable):
        return keras.Variable(ops.copy(value), dtype=value.dtype, trainable=value.trainable, name=value.name)
    return value
