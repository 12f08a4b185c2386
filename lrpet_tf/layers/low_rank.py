"""A chain of factors as one trainable layer.

The factors start as the balanced truncation of the dense kernel that `kernel_initializer` would have drawn (spectral
initialisation, Khodak et al. 2021, arXiv 2105.01029), so that training begins where the dense layer's would.
"""

import functools
from collections.abc import Callable

import keras
from keras import ops

from lrpet_tf import decompositions
from lrpet_tf.layers.stock import conv_chain, dense_chain, kernel_options, output_options
from lrpet_tf.linalg import Chain, Factor, KernelShape, resolve_rank, validate_rank


class _SpectralFactor(keras.initializers.Initializer):
    """Gives one of the factors of the dense kernel that another initializer draws.

    All factors draw the kernel anew: Keras initializers repeat themselves, and a build inside a compiled function must not
    hand tensors from one variable to another.
    """

    def __init__(self, initializer: keras.initializers.Initializer, shape: tuple[int, ...], split: Callable, index: int):
        self._initializer, self._shape, self._split, self._index = initializer, shape, split, index

    def __call__(self, shape, dtype=None):
        """Returns the factor as a tensor `shape`."""
        factor = self._split(self._initializer(self._shape, dtype="float32"))[self._index]
        return ops.cast(ops.reshape(factor, shape), dtype or "float32")


class _LowRank:
    """Replaces the kernel of a Keras layer by a chain of factors of a given rank."""

    # Whether weights are set once the layer is built: then no dense kernel is drawn and taken apart.
    _is_given = False

    def __init__(self, *args, rank, decomposition="channel", **kwargs):
        super().__init__(*args, **kwargs)
        self.declared_rank = validate_rank(rank, path=self.name)
        self.decomposition = decompositions.get(decomposition).name

    @classmethod
    def _given(cls, own: dict, source, rank: int, decomposition: str):
        layer = cls(**own, **kernel_options(source), **output_options(source), rank=rank, decomposition=decomposition)
        layer._is_given = True
        return layer

    def get_config(self) -> dict:
        """Returns the configuration of the layer, its rank and decomposition included."""
        return {**super().get_config(), "rank": self.declared_rank, "decomposition": self.decomposition}

    def _dense_shape(self, input_shape) -> KernelShape:
        raise NotImplementedError

    def _build_layers(self, shapes) -> list[keras.layers.Layer]:
        raise NotImplementedError

    def build(self, input_shape) -> None:
        """Creates the factors.

        Args:
            input_shape: Shape of the input, the batch axis included.

        Raises:
            RankError: The rank is above the full rank of the kernel.
        """
        form, groups = decompositions.get(self.decomposition), getattr(self, "groups", 1)
        shape = self._dense_shape(input_shape)
        rank = resolve_rank(self.declared_rank, form.max_rank(shape, groups), self.name)
        shapes = form.factor_shapes(shape, rank, groups)
        split = functools.partial(form.factors, rank=rank, groups=groups)
        self.factors = self._build_layers(shapes)
        self.factors[-1].activity_regularizer = None  # this layer applies it
        self._spatial_axes = tuple(factor.spatial_axes for factor in shapes)
        for index, factor in enumerate(self.factors):
            spectral = _SpectralFactor(self.kernel_initializer, shape, split, index)
            factor.kernel_initializer = keras.initializers.Zeros() if self._is_given else spectral
            factor.build(input_shape)
            factor.kernel_initializer = spectral
            input_shape = factor.compute_output_shape(input_shape)
        self.built = True

    def call(self, inputs):
        """Applies the factors one after the other."""
        for factor in self.factors:
            inputs = factor(inputs)
        return inputs

    @property
    def bias(self):
        """The bias of the last factor, or `None`."""
        return self.factors[-1].bias if self.built and self.use_bias else None

    @bias.setter
    def bias(self, value):
        if value is not None:
            raise AttributeError("The bias belongs to the last of `factors`; assign to `factors[-1].bias`.")

    def chain(self) -> Chain:
        """Returns the factors as NumPy arrays, HWIO."""
        kernels = [ops.convert_to_numpy(factor.kernel) for factor in self.factors]
        kernels = [kernel if kernel.ndim == 4 else kernel[None, None] for kernel in kernels]
        return tuple(Factor(kernel, axes) for kernel, axes in zip(kernels, self._spatial_axes, strict=True))

    def save_own_variables(self, store) -> None:
        """Saves nothing: each factor saves its own."""

    def load_own_variables(self, store) -> None:
        """Loads nothing: each factor loads its own."""


@keras.saving.register_keras_serializable(package="lrpet_tf")
class LowRankConv2D(_LowRank, keras.layers.Conv2D):
    """A convolution of low rank, trained as its factors: `kh×kw, in → rank`, then `1×1, rank → filters`.

    `factorize` writes it as the stock Conv2D layers that it is.

    Args:
        filters: As in `keras.layers.Conv2D`, like all further arguments.
        kernel_size: See there.
        rank: A share of the full rank as a float in (0, 1], or a rank as an int; that of each group where there are several.
        decomposition: `"channel"`, `"input_channel"`, `"spatial"` or `"tucker2"`.
        **kwargs: Everything else that `keras.layers.Conv2D` takes.

    Raises:
        RankError: `rank` is neither.
        ValueError: `decomposition` is unknown.
    """

    @classmethod
    def like(cls, source: keras.layers.Conv2D, rank: int, decomposition: str) -> "LowRankConv2D":
        """Returns an unbuilt layer of a rank with all options of a convolution, whose weights are set once it is built."""
        names = ("filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate", "groups", "use_bias", "name")
        own = {name: getattr(source, name) for name in names}
        return cls._given(own, source, rank, decomposition)

    def _dense_shape(self, input_shape):
        channels = input_shape[-1 if self.data_format == "channels_last" else 1]
        return (*self.kernel_size, channels // self.groups, self.filters)

    def _build_layers(self, shapes):
        return conv_chain(self, shapes)


@keras.saving.register_keras_serializable(package="lrpet_tf")
class LowRankDense(_LowRank, keras.layers.Dense):
    """A Dense layer of low rank, trained as its factors: `in → rank`, then `rank → units`.

    `factorize` writes it as the stock Dense layers that it is.

    Args:
        units: As in `keras.layers.Dense`, like all further arguments.
        rank: A share of the full rank as a float in (0, 1], or a rank as an int.
        decomposition: `"channel"`, or another form, which differs in the number of factors at most.
        **kwargs: Everything else that `keras.layers.Dense` takes.

    Raises:
        RankError: `rank` is neither.
        ValueError: `decomposition` is unknown.
    """

    @classmethod
    def like(cls, source: keras.layers.Dense, rank: int, decomposition: str) -> "LowRankDense":
        """Returns an unbuilt layer of a rank with all options of a Dense layer, whose weights are set once it is built."""
        own = {name: getattr(source, name) for name in ("units", "use_bias", "name")}
        return cls._given(own, source, rank, decomposition)

    def _dense_shape(self, input_shape):
        return (1, 1, input_shape[-1], self.units)

    def _build_layers(self, shapes):
        return dense_chain(self, shapes)
