"""The packages on the other side of the bridge, imported where they are used and without a trace in the user's process."""

import os
from types import ModuleType

import keras

from lrpet_tf.errors import LowRankError, require

_EXTRA = "'lrpet-tf[qat]'"
_SWITCH = "TF_USE_LEGACY_KERAS"


def tf_keras() -> ModuleType:
    """Returns the module `tf_keras`, Keras 2.

    Raises:
        LowRankError: Keras runs on another backend than TensorFlow.
        MissingExtraError: The package is not installed.
    """
    if keras.backend.backend() != "tensorflow":
        raise LowRankError(
            "tf_keras runs on TensorFlow. Save the model as .keras, and load it in a process with KERAS_BACKEND=tensorflow. "
            f"Received: backend {keras.backend.backend()!r}"
        )
    return require("tf_keras", _EXTRA)


def tfmot() -> ModuleType:
    """Returns the module `tensorflow_model_optimization`.

    It sets an environment variable that turns `tf.keras` into Keras 2 for the whole process, and its subprocesses. Here
    `tf.keras` is settled first, and the variable is put back.

    Raises:
        LowRankError: Keras runs on another backend than TensorFlow.
        MissingExtraError: A package is not installed.
    """
    tf_keras()
    settled = require("tensorflow", "tensorflow").keras
    settled.layers  # noqa: B018, it is loaded when something is asked of it
    before = os.environ.get(_SWITCH)
    try:
        return require("tensorflow_model_optimization", _EXTRA)
    finally:
        if before is None:
            os.environ.pop(_SWITCH, None)
        else:
            os.environ[_SWITCH] = before
