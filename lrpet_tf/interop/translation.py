"""The configuration of a Keras 3 layer in the words of tf_keras."""

import inspect

import keras

from lrpet_tf.interop.packages import tf_keras

# Options that have another name there, by class.
_RENAMED = {"LeakyReLU": {"negative_slope": "alpha"}}
# Functions that have the same name there and another value.
_OTHER_FUNCTIONS = {"hard_sigmoid"}
# Options that are taken without standing in a signature, by class.
_HIDDEN = {kind: {"zero_output_for_mask"} for kind in ("GRU", "LSTM", "RNN", "SimpleRNN")}
# What every layer of tf_keras takes.
_COMMON = {"name", "trainable", "dtype", "activity_regularizer"}


class UntranslatableError(Exception):
    """A layer that tf_keras does not have, or not with these options; the message says which."""


def _accepted(kind: type) -> set[str]:
    """Returns the options that the constructor of a tf_keras class takes."""
    names = set(_COMMON)
    for base in inspect.getmro(kind):
        if base is tf_keras().layers.Layer or "__init__" not in vars(base):
            continue
        parameters = inspect.signature(base.__init__).parameters.values()
        names |= {each.name for each in parameters if each.kind is not inspect.Parameter.VAR_KEYWORD}
        if all(each.kind is not inspect.Parameter.VAR_KEYWORD for each in parameters):
            break
    return names


def _defaults(kind: type) -> dict:
    """Returns the defaults of the options of a Keras 3 class."""
    found = {}
    for base in inspect.getmro(kind):
        if "__init__" in vars(base):
            parameters = inspect.signature(base.__init__).parameters.values()
            found = {each.name: each.default for each in parameters} | found
    return found


def _activation(value, function, name: str):
    """Returns an activation of tf_keras for one of Keras 3.

    Args:
        value: As the configuration of the layer has it.
        function: As the layer has it; `None` where there is no layer at hand.
        name: Name of the layer, for functions of the user's own.
    """
    if value is None:
        return None
    known = getattr(tf_keras().activations, value, None) if isinstance(value, str) else None
    if known is not None and value not in _OTHER_FUNCTIONS:
        return value
    if function is None and not isinstance(value, str):
        raise UntranslatableError("the layer inside has an activation of its own")
    function = keras.activations.get(value) if function is None else function
    return _registered(function, value if isinstance(value, str) else f"{name}_activation")


def _registered(function, name: str):
    """Returns a function of Keras 3 as one that tf_keras can write down and find again."""

    def run(x):
        return function(x)

    run.__name__ = f"keras_{name}"
    return tf_keras().utils.register_keras_serializable("lrpet_tf", run.__name__)(run)


def _object(value, module) -> object:
    """Returns a regularizer or constraint of tf_keras for one of Keras 3, from its configuration."""
    if value is None:
        return None
    kind = getattr(module, value["class_name"], None) if isinstance(value, dict) else None
    if kind is None or value.get("module") not in ("keras.regularizers", "keras.constraints"):
        raise UntranslatableError(f"tf_keras has no {value['class_name'] if isinstance(value, dict) else value}")
    return kind(**{key: each for key, each in value["config"].items() if key != "dtype"})


def dtype_name(value) -> str:
    """Returns the name of a dtype policy from its configuration."""
    name = value["config"].get("name") if isinstance(value, dict) else value
    if name not in ("float32", "float64", "float16", "bfloat16", "mixed_float16", "mixed_bfloat16"):
        raise UntranslatableError(f"tf_keras has no dtype policy {name}")
    return name


def _option(key: str, value, layer, name: str):
    if key.endswith("_regularizer"):
        return _object(value, tf_keras().regularizers)
    if key.endswith("_constraint"):
        return _object(value, tf_keras().constraints)
    if key == "dtype":
        return dtype_name(value)
    if key.endswith("activation"):
        return _activation(value, getattr(layer, key, None), name)
    if isinstance(value, dict) and {"class_name", "config"} <= set(value) and value.get("module") == "keras.layers":
        return from_config(value["class_name"], value["config"], None)
    return value


def from_config(kind: str, config: dict, layer, **others):
    """Returns a layer of tf_keras from the name of a class of `keras.layers` and a configuration of Keras 3.

    Args:
        kind: Name of the class.
        config: The configuration; what it leaves out has its default.
        layer: The layer, whose activation is taken where it is a function of the user's own; or `None`.
        **others: Options to set instead.

    Raises:
        UntranslatableError: tf_keras has no such layer, or not with these options.
    """
    source, target = getattr(keras.layers, kind, None), getattr(tf_keras().layers, kind, None)
    if source is None or target is None:
        raise UntranslatableError(f"tf_keras has no {kind}")
    accepted, defaults, renamed = _accepted(target) | _HIDDEN.get(kind, set()), _defaults(source), _RENAMED.get(kind, {})
    name, options = config["name"], {}
    for key, value in {**config, **others}.items():
        new = renamed.get(key, key)
        if key.endswith("initializer"):  # the weights come with the layer
            continue
        if new in accepted:
            options[new] = _option(key, value, layer, name)
        elif value is not None and value != defaults.get(key, value):
            raise UntranslatableError(f"the {kind} of tf_keras has no option {key}={value!r}")
    return target(**options)


def translate(layer: keras.layers.Layer, **others):
    """Returns a layer of tf_keras, unbuilt, of the configuration of a stock layer of Keras 3.

    Options that tf_keras does not know are left out where they have their default; initializers always, since weights are to
    be set.

    Args:
        layer: A layer of `keras.layers`.
        **others: Options to set instead of the layer's, such as its name.

    Raises:
        UntranslatableError: tf_keras has no such layer, or not with these options.
    """
    kind = type(layer).__name__
    if getattr(keras.layers, kind, None) is not type(layer):
        raise UntranslatableError(f"{kind} is a class of its own, not one of keras.layers")
    return from_config(kind, layer.get_config(), layer, **others)
