"""A tf_keras layer that runs an operation of Keras 3, such as a padding along the channels."""

import functools
import json

import keras
import numpy as np

from lrpet_tf.interop.packages import tf_keras
from lrpet_tf.interop.translation import UntranslatableError

# Operations that move values and change none: what comes out has the range of what goes in.
_MOVING = {
    "ExpandDims", "GetItem", "Moveaxis", "Pad", "Ravel", "Reshape", "Squeeze", "Swapaxes", "Transpose",
}  # fmt: skip


def _encoded(value, tensors: list):
    """Returns the arguments of a call as plain values for JSON; tensors are put in the list and replaced by their number."""
    if hasattr(value, "_keras_history"):
        tensors.append(value)
        return {"tensor": len(tensors) - 1}
    if isinstance(value, keras.Variable):
        raise UntranslatableError(f"it computes with the variable '{value.path}', which belongs to no layer")
    if isinstance(value, (list, tuple)):
        return {type(value).__name__: [_encoded(each, tensors) for each in value]}
    if isinstance(value, dict):
        return {"dict": [[key, _encoded(each, tensors)] for key, each in value.items()]}
    if isinstance(value, slice):
        return {"slice": [_encoded(each, tensors) for each in (value.start, value.stop, value.step)]}
    if value is Ellipsis:
        return {"ellipsis": 0}
    if hasattr(value, "__array__"):
        array = np.asarray(value)
        return {"array": [array.tolist(), str(array.dtype)]}
    return value


_DECODERS = {
    "tensor": lambda index, tensors: tensors[index],
    "list": lambda parts, tensors: [_decoded(each, tensors) for each in parts],
    "tuple": lambda parts, tensors: tuple(_decoded(each, tensors) for each in parts),
    "dict": lambda pairs, tensors: {key: _decoded(each, tensors) for key, each in pairs},
    "slice": lambda parts, tensors: slice(*(_decoded(each, tensors) for each in parts)),
    "ellipsis": lambda _, tensors: Ellipsis,
    "array": lambda parts, tensors: np.array(parts[0], parts[1]),
}


def _decoded(value, tensors):
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    return _DECODERS[kind](content, tensors)


@functools.cache
def operation_class() -> type:
    """Returns the class of the layer, registered with tf_keras."""
    layers, register = tf_keras().layers, tf_keras().utils.register_keras_serializable

    @register("lrpet_tf")
    class KerasOperation(layers.Layer):
        """Runs an operation of Keras 3.

        Args:
            operation: The operation, as Keras 3 serializes it, as JSON.
            arguments: The arguments of its call, as JSON, numbers in the place of tensors.
            **options: Those of a layer.
        """

        def __init__(self, operation, arguments, **options):
            super().__init__(**options)
            self.operation, self.arguments = operation, arguments
            self._operation = keras.saving.deserialize_keras_object(json.loads(operation))

        def call(self, inputs):
            tensors = inputs if isinstance(inputs, (list, tuple)) else [inputs]
            args, kwargs = _decoded(json.loads(self.arguments), tensors)
            return self._operation.call(*args, **kwargs)

        def get_config(self):
            return {**super().get_config(), "operation": self.operation, "arguments": self.arguments}

        @property
        def only_moves(self) -> bool:
            """Whether it moves values and changes none."""
            kind, config = type(self._operation).__name__, self._operation.get_config()
            if kind == "Pad":
                _, kwargs = _decoded(json.loads(self.arguments), _Any())
                return config["mode"] == "constant" and not kwargs.get("constant_values")
            return kind in _MOVING

    return KerasOperation


class _Any:
    """Stands for tensors where only the other arguments are asked for."""

    def __getitem__(self, index):
        return None


def operation_layer(operation: keras.Operation, args: tuple, kwargs: dict, name: str):
    """Returns the layer that runs an operation as it is called in a graph, and the tensors to call it on.

    Args:
        operation: An operation without weights.
        args: What it is called with.
        kwargs: The same, by name.
        name: Name of the layer.

    Returns:
        The layer, and a tensor or a list of them.

    Raises:
        UntranslatableError: An argument is of no kind that can be written down.
    """
    tensors = []
    try:
        arguments = json.dumps(_encoded((args, kwargs), tensors))
        serialized = json.dumps(keras.saving.serialize_keras_object(operation))
    except TypeError as error:
        raise UntranslatableError(f"its arguments cannot be written down ({error})") from error
    layer = operation_class()(serialized, arguments, name=name)
    return layer, tensors[0] if len(tensors) == 1 else tensors
