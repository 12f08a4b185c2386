"""Any chain of layers as one layer, to stand inside another layer."""

import keras


@keras.saving.register_keras_serializable(package="lrpet_tf")
class FactorChain(keras.layers.Layer):
    """Applies layers one after the other: what `factorize` puts into a layer of your own in the place of a single one.

    Args:
        factors: The layers, in the order of application.
        **kwargs: Name, dtype policy and `trainable`, as for every layer.
    """

    def __init__(self, factors, **kwargs):
        super().__init__(**kwargs)
        self.factors = list(factors)
        self.supports_masking = True
        self.autocast = False

    def build(self, input_shape) -> None:
        """Builds the layers one after the other.

        Args:
            input_shape: Shape of the input, the batch axis included.
        """
        for factor in self.factors:
            if not factor.built:  # one from a configuration may have been built with it
                factor.build(input_shape)
            input_shape = factor.compute_output_shape(input_shape)
        self.built = True

    def call(self, inputs):
        """Applies the layers."""
        for factor in self.factors:
            inputs = factor(inputs)
        return inputs

    def compute_mask(self, inputs, previous_mask=None):
        """Returns the mask that the layers pass on."""
        for factor in self.factors[:1]:
            previous_mask = factor.compute_mask(inputs, previous_mask)
        return previous_mask

    def compute_output_shape(self, input_shape):
        """Returns the shape of the last layer's output."""
        for factor in self.factors:
            input_shape = factor.compute_output_shape(input_shape)
        return input_shape

    def get_config(self) -> dict:
        """Returns the configuration of the layer, those of the layers inside included."""
        return {**super().get_config(), "factors": [keras.saving.serialize_keras_object(factor) for factor in self.factors]}

    @classmethod
    def from_config(cls, config: dict) -> "FactorChain":
        """Builds the layer of a configuration."""
        return cls(**{**config, "factors": [keras.saving.deserialize_keras_object(each) for each in config["factors"]]})
