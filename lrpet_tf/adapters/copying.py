"""Copies of layers, with their state, for layers whose configuration alone does not say everything."""

import tempfile

import keras
from keras import layers, ops


def copy_operation(operation: keras.Operation, config: dict | None = None) -> keras.Operation:
    """Returns an unbuilt copy of a layer or operation that shares no state with it.

    Functions that a layer holds, such as an activation of one's own, are taken from the layer itself, so they need not be
    registered.

    Args:
        operation: The layer or operation.
        config: A configuration to use instead of its own.
    """
    config = operation.get_config() if config is None else config
    if type(operation) is layers.Lambda:
        return _copy_lambda(operation, config)
    functions = {value.__name__: value for value in vars(operation).values() if callable(value) and hasattr(value, "__name__")}
    with keras.utils.custom_object_scope(functions):
        return type(operation).from_config(config)


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
    for variable, target in zip(source.variables, copy.variables, strict=True):
        # A true copy: JAX gives the buffers of a model away when it trains or predicts.
        target.assign(ops.copy(variable))
    for original, twin in zip(source._flatten_layers(), copy._flatten_layers(), strict=True):
        if _is_overridden(twin, "save_assets"):
            with tempfile.TemporaryDirectory() as folder:
                original.save_assets(folder)
                twin.load_assets(folder)
        elif hasattr(twin, "finalize_state"):
            twin.finalize_state()


def _is_overridden(layer: keras.layers.Layer, method: str) -> bool:
    return getattr(type(layer), method, None) is not getattr(keras.layers.Layer, method, None)
