"""The state of a model, to be put back to the bit."""

import keras
import numpy as np
from keras import ops

from lrpet_tf.plan import attach, attached


class Snapshot:
    """All that a trial changes: weights, moving statistics, seeds, the optimizer's variables, and the plan that was left.

    Args:
        model: A built model.
        optimizer: Whether the trials use its optimizer; it is built if it was not.
    """

    def __init__(self, model: keras.Model, *, optimizer: bool):
        variables = list(model.variables)
        if optimizer:
            if not model.optimizer.built:
                model.optimizer.build(model.trainable_variables)
            variables += model.optimizer.variables
        self._model, self._plan = model, attached(model)
        self._values = [(variable, np.array(ops.convert_to_numpy(variable))) for variable in variables]

    def restore(self) -> None:
        """Puts everything back."""
        for variable, value in self._values:
            variable.assign(value)
        attach(self._model, self._plan)
