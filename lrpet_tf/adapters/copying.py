"""Copies of layers, with their state, for layers whose configuration alone does not say everything."""

import functools
import tempfile
from collections.abc import Callable

import keras
import numpy as np
from keras import layers, ops

from lrpet_tf.errors import LowRankError


def copy_operation(
    operation: keras.Operation, config: dict | None = None, dtype=None, inner: Callable | None = None
) -> keras.Operation:
    """Returns an unbuilt copy of a layer or operation that shares no state with it.

    Functions that a layer holds, such as an activation of one's own, are taken from the layer itself, so they need not be
    registered.

    Args:
        operation: The layer or operation.
        config: A configuration to use instead of its own.
        dtype: Dtype policy of a layer without a configuration of its own; that of the layer by default.
        inner: Copies the layers inside such a layer; this function by default.
    """
    if not tells_config(operation):
        # Keras notes the arguments of layers, but of models their defaults.
        if not isinstance(operation, keras.Model) and getattr(operation, "_auto_config", None) is not None:
            return _construct(operation, dtype or operation.dtype_policy)
        return _imitate(operation, dtype or operation.dtype_policy, inner or copy_operation)
    config = operation.get_config() if config is None else config
    if type(operation) is layers.Lambda:
        return _copy_lambda(operation, config)
    try:
        with keras.utils.custom_object_scope(_known_objects(operation)):
            return type(operation).from_config(config)
    except TypeError:
        if type(operation).__module__.startswith("keras."):
            raise
        # The constructor does not take what the configuration holds, such as `trainable`.
        return _imitate(operation, dtype or operation.dtype_policy, inner or copy_operation)


def _known_objects(operation) -> dict:
    """Returns the functions that a layer holds, and the classes of the layers in it, so that none needs to be registered."""
    functions = {value.__name__: value for value in vars(operation).values() if callable(value) and hasattr(value, "__name__")}
    inside = operation._flatten_layers() if isinstance(operation, layers.Layer) else ()
    return {type(each).__name__: type(each) for each in inside if not type(each).__module__.startswith("keras.")} | functions


def _base(operation) -> type:
    return keras.Model if isinstance(operation, keras.Model) else layers.Layer


def tells_config(operation) -> bool:
    """Returns whether a configuration says what a layer is; a class may leave that to Keras, which cannot know."""
    is_keras = type(operation).__module__.startswith("keras.") or not isinstance(operation, layers.Layer)
    return is_keras or type(operation).get_config is not _base(operation).get_config


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
    _carry_settings(source, copy)
    copy.name = source.name  # a layer inside another may have been named automatically
    if _is_overridden(copy, "save_assets"):
        with tempfile.TemporaryDirectory() as folder:
            source.save_assets(folder)
            copy.load_assets(folder)
    elif hasattr(copy, "finalize_state"):
        copy.finalize_state()


def _imitate(operation: layers.Layer, dtype, copy_inner: Callable) -> layers.Layer:
    """Makes a layer whose constructor's arguments are not known: with copies of its attributes, and its constructor not run."""
    copy = type(operation).__new__(type(operation))
    _base(operation).__init__(copy, name=operation.name, dtype=dtype)
    made: dict[int, layers.Layer] = {}

    def inner(layer: layers.Layer) -> layers.Layer:
        if id(layer) not in made:
            made[id(layer)] = copy_inner(layer)
        return made[id(layer)]

    kept = set(vars(copy)) | _names_of_keras()
    for name, value in vars(operation).items():
        if name not in kept and not name.startswith("_self_"):
            setattr(copy, name, carried(value, inner))
    for name in ("supports_masking", "autocast", "_build_shapes_dict"):
        setattr(copy, name, getattr(operation, name))
    copy.built = True  # its own variables are there; layers inside are built when it is called
    return copy


@functools.cache
def _names_of_keras() -> frozenset[str]:
    """Returns the attributes that Keras itself gives a model in its life."""

    class Model(keras.Model):
        def call(self, inputs):
            return inputs

    model = Model()
    model.compile("sgd", "mse", metrics=["mae"])
    model.predict(np.zeros((1, 1)), verbose=0)
    model.evaluate(np.zeros((1, 1)), np.zeros((1, 1)), verbose=0)
    model.make_train_function()
    return frozenset({*vars(model), "history", "make_train_function", "_lrpet_plan", "_lrpet_source_plan"})


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
