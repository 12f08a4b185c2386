"""Copies of layers, with their state, for layers whose configuration alone does not say everything."""

import tempfile

import keras
from keras import layers, ops

from lrpet_tf.errors import LowRankError


def copy_operation(operation: keras.Operation, config: dict | None = None, dtype=None) -> keras.Operation:
    """Returns an unbuilt copy of a layer or operation that shares no state with it.

    Functions that a layer holds, such as an activation of one's own, are taken from the layer itself, so they need not be
    registered.

    Args:
        operation: The layer or operation.
        config: A configuration to use instead of its own.
        dtype: Dtype policy of a layer that is made from the arguments of its constructor; its own by default.
    """
    if _tells_arguments_alone(operation):
        return _construct(operation, dtype or operation.dtype_policy)
    try:
        config = operation.get_config() if config is None else config
    except NotImplementedError as error:
        raise LowRankError(
            f"{type(operation).__name__} '{operation.name}' cannot be copied: {error} Give the class a get_config that returns "
            "the arguments of its __init__."
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


def _construct(operation: layers.Layer, dtype) -> layers.Layer:
    """Makes a layer anew from the arguments that Keras has noted: its class need not take a name or a dtype."""
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy(dtype)  # the layers inside take it from there
        copy = type(operation)(**operation._auto_config.config)
    finally:
        keras.config.set_dtype_policy(before)
    copy.name = operation.name
    copy.dtype_policy = dtype
    return copy


def _copy_lambda(layer: layers.Lambda, config: dict) -> layers.Lambda:
    options = {key: config[key] for key in ("name", "trainable", "dtype")}
    return layers.Lambda(
        layer.function, output_shape=layer._output_shape, mask=layer.mask, arguments=layer.arguments, **options
    )


def own_variables(layer: layers.Layer) -> list[keras.Variable]:
    """Returns the variables of a layer itself, without those of the layers inside it."""
    inside = {id(variable) for part in layer._layers for variable in part.variables}
    return [variable for variable in layer.variables if id(variable) not in inside]


def carry_state(source: layers.Layer, copy: layers.Layer) -> None:
    """Gives a copy the name and the variables of its source, and the state that is kept beside them, such as vocabularies.

    Args:
        source: A built layer; the layers inside it are left to their own copies.
        copy: A built copy of it.

    Raises:
        LowRankError: The copy has other variables.
    """
    pairs = own_variables(source), own_variables(copy)
    if [tuple(variable.shape) for variable in pairs[0]] != [tuple(variable.shape) for variable in pairs[1]]:
        raise LowRankError(
            f"A copy of {type(source).__name__} '{source.name}', made from its configuration, has other weights than the layer "
            "itself. Let get_config return all that its weights depend on, and let it make them in __init__ or build."
        )
    for variable, target in zip(*pairs, strict=True):
        # A true copy: JAX gives the buffers of a model away when it trains or predicts.
        target.assign(ops.copy(variable))
    copy.name = source.name  # a layer inside another may have been named automatically
    if _is_overridden(copy, "save_assets"):
        with tempfile.TemporaryDirectory() as folder:
            source.save_assets(folder)
            copy.load_assets(folder)
    elif hasattr(copy, "finalize_state"):
        copy.finalize_state()


def _is_overridden(layer: keras.layers.Layer, method: str) -> bool:
    return getattr(type(layer), method, None) is not getattr(keras.layers.Layer, method, None)
