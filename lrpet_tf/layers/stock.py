"""Chains of stock Keras layers that stand for one layer: the last takes its name, bias and activation."""

from collections.abc import Collection, Sequence

from keras import layers

from lrpet_tf.linalg import FactorShape

# By the number of spatial axes.
_CONVOLUTIONS = {1: layers.Conv1D, 2: layers.Conv2D, 3: layers.Conv3D}
_TRANSPOSED = {1: layers.Conv1DTranspose, 2: layers.Conv2DTranspose, 3: layers.Conv3DTranspose}
_SEPARABLE = {1: layers.SeparableConv1D, 2: layers.SeparableConv2D}


def factor_names(name: str, count: int, taken: Collection[str] = ()) -> list[str]:
    """Returns the names of the layers of a chain.

    Args:
        name: Name of the layer that the chain stands for.
        count: Length of the chain.
        taken: Names that other layers have.

    Returns:
        `<name>_factor0`, …, and `<name>` itself for the last; with more underscores where such a name is taken.
    """
    prefix = f"{name}_factor"
    while any(f"{prefix}{index}" in taken for index in range(count - 1)):
        prefix += "_"
    return [f"{prefix}{index}" for index in range(count - 1)] + [name]


def kernel_options(source, name: str = "kernel") -> dict:
    """Returns what a Keras layer is told about its kernel, from a layer that calls it by some name.

    Args:
        source: A layer.
        name: What the attributes of the source begin with, such as `"embeddings"` in `embeddings_regularizer`.

    Returns:
        Arguments: initializer, regularizer and constraint of the kernel, dtype policy and `trainable`.
    """
    parts = ("initializer", "regularizer", "constraint")
    given = {f"kernel_{part}": getattr(source, f"{name}_{part}") for part in parts}
    return given | {"dtype": source.dtype_policy, "trainable": source.trainable}


def output_options(source) -> dict:
    """Returns what a Keras layer is told about its bias and activation, from another one; not whether it has a bias."""
    return {
        "bias_initializer": source.bias_initializer,
        "bias_regularizer": source.bias_regularizer,
        "bias_constraint": source.bias_constraint,
        "activation": _own(source.activation),
        "activity_regularizer": source.activity_regularizer,
    }


def _own(activation):
    """Returns a copy of an activation that is a layer: layers belong to one model."""
    is_layer = isinstance(activation, layers.Layer)
    return type(activation).from_config(activation.get_config()) if is_layer else activation


def _options(source, index: int, count: int, kernel: str = "kernel") -> dict:
    last = index == count - 1
    return kernel_options(source, kernel) | {"use_bias": last and source.use_bias} | (output_options(source) if last else {})


def _named(source, shapes: Sequence[FactorShape], taken: Collection[str]):
    """Yields the place, the name and the shape of each factor."""
    names = factor_names(source.name, len(shapes), taken)
    return zip(range(len(shapes)), names, shapes, strict=True)


def _along(values, factor: FactorShape, otherwise: int = 1) -> tuple[int, ...]:
    """Returns the values of the axes that a factor owns."""
    return tuple(value if axis in factor.spatial_axes else otherwise for axis, value in enumerate(values))


def conv_chain(source, shapes: Sequence[FactorShape], taken: Collection[str] = ()) -> list[layers.Layer]:
    """Builds the convolutions that stand for a convolution.

    Args:
        source: A Conv1D, Conv2D or Conv3D. The factor that owns a spatial axis takes its stride and dilation along it.
        shapes: Shapes of the factors, in the order of application.
        taken: Names that other layers have.

    Returns:
        Unbuilt layers, of the same groups, dtype policy, regularizers, constraints, data format and `trainable`.
    """
    return [
        _CONVOLUTIONS[source.rank](
            factor.shape[-1],
            factor.shape[:-2],
            strides=_along(source.strides, factor),
            dilation_rate=_along(source.dilation_rate, factor),
            padding=source.padding,
            data_format=source.data_format,
            groups=source.groups,
            name=name,
            **_options(source, index, len(shapes)),
        )
        for index, name, factor in _named(source, shapes, taken)
    ]


def conv_transpose_chain(source, shapes: Sequence[FactorShape], taken: Collection[str] = ()) -> list[layers.Layer]:
    """Builds the layers that stand for a transposed convolution: transposed for factors that own an axis, plain for others.

    Args:
        source: A Conv1DTranspose, Conv2DTranspose or Conv3DTranspose.
        shapes: Shapes of the factors, in the order of application.
        taken: Names that other layers have.

    Returns:
        Unbuilt layers, of the same dtype policy, regularizers, constraints, data format and `trainable`.
    """
    chain = []
    for index, name, factor in _named(source, shapes, taken):
        options = _options(source, index, len(shapes)) | {"padding": source.padding, "data_format": source.data_format}
        kind = _CONVOLUTIONS[source.rank]
        if factor.spatial_axes:
            kind = _TRANSPOSED[source.rank]
            options |= {
                "strides": _along(source.strides, factor),
                "dilation_rate": _along(source.dilation_rate, factor),
                "output_padding": None if source.output_padding is None else _along(source.output_padding, factor, 0),
            }
        chain.append(kind(factor.shape[-1], factor.shape[:-2], name=name, **options))
    return chain


def separable_chain(source, shapes: Sequence[FactorShape], taken: Collection[str] = ()) -> list[layers.Layer]:
    """Builds the layers that stand for a separable convolution: a narrower one, then pointwise convolutions.

    Args:
        source: A SeparableConv1D or SeparableConv2D.
        shapes: Shapes of the factors of the pointwise kernel, in the order of application.
        taken: Names that other layers have.

    Returns:
        Unbuilt layers, of the same dtype policy, regularizers, constraints, data format and `trainable`.
    """
    chain = []
    for index, name, factor in _named(source, shapes, taken):
        options = _options(source, index, len(shapes), "pointwise") | {"name": name, "data_format": source.data_format}
        if index:
            chain.append(_CONVOLUTIONS[source.rank](factor.shape[-1], 1, **options))
            continue
        pointwise = {key.replace("kernel", "pointwise"): value for key, value in options.items() if key.startswith("kernel_")}
        others = {key: value for key, value in options.items() if not key.startswith("kernel_")}
        depthwise = {
            f"depthwise_{part}": getattr(source, f"depthwise_{part}") for part in ("initializer", "regularizer", "constraint")
        }
        chain.append(
            _SEPARABLE[source.rank](
                factor.shape[-1],
                source.kernel_size,
                strides=source.strides,
                padding=source.padding,
                dilation_rate=source.dilation_rate,
                depth_multiplier=source.depth_multiplier,
                **pointwise,
                **others,
                **depthwise,
            )
        )
    return chain


def dense_chain(source: layers.Dense, shapes: Sequence[FactorShape], taken: Collection[str] = ()) -> list[layers.Dense]:
    """Builds the Dense layers that stand for a Dense layer.

    Args:
        source: The Dense layer.
        shapes: Shapes of the factors, `(1, 1, in, out)`, in the order of application.
        taken: Names that other layers have.

    Returns:
        Unbuilt layers, of the same dtype policy, regularizers, constraints and `trainable`.
    """
    return [
        layers.Dense(factor.shape[-1], name=name, **_options(source, index, len(shapes)))
        for index, name, factor in _named(source, shapes, taken)
    ]


def einsum_chain(source: layers.EinsumDense, specs: Sequence[tuple], taken: Collection[str] = ()) -> list[layers.EinsumDense]:
    """Builds the EinsumDense layers that stand for one.

    Args:
        source: The EinsumDense layer.
        specs: Equation and output shape of each.
        taken: Names that other layers have.

    Returns:
        Unbuilt layers, of the same dtype policy, regularizers, constraints and `trainable`.
    """
    chain = []
    for index, (name, (equation, sizes)) in enumerate(zip(factor_names(source.name, len(specs), taken), specs, strict=True)):
        options = kernel_options(source)
        if index == len(specs) - 1:
            options |= output_options(source) | {"bias_axes": source.bias_axes}
        chain.append(layers.EinsumDense(equation, sizes, name=name, **options))
    return chain


def embedding_chain(source: layers.Embedding, shapes: Sequence[FactorShape], taken: Collection[str] = ()) -> list[layers.Layer]:
    """Builds the Embedding and the Dense layers that stand for an Embedding.

    Args:
        source: The Embedding.
        shapes: Shapes of the factors, `(1, 1, in, out)`, in the order of application.
        taken: Names that other layers have.

    Returns:
        Unbuilt layers, of the same dtype policy, regularizers, constraints and `trainable`; masks pass through all of them.
    """
    chain = []
    for index, name, factor in _named(source, shapes, taken):
        options = kernel_options(source, "embeddings") | {"name": name}
        if index == len(shapes) - 1:
            options["activity_regularizer"] = source.activity_regularizer
        if index:
            chain.append(layers.Dense(factor.shape[-1], use_bias=False, **options))
        else:
            options = {key.replace("kernel", "embeddings"): value for key, value in options.items()}
            chain.append(layers.Embedding(source.input_dim, factor.shape[-1], mask_zero=source.mask_zero, **options))
    return chain


def narrowing_chain(source, cell, shapes: Sequence[FactorShape], taken: Collection[str] = ()) -> list[layers.Dense]:
    """Builds the Dense layers before a recurrent layer.

    Args:
        source: The recurrent layer.
        cell: Its cell, whose options for the kernel they take.
        shapes: Shapes of the factors, `(1, 1, in, out)`, without the last.
        taken: Names that other layers have.

    Returns:
        Unbuilt layers without bias.
    """
    names = factor_names(source.name, len(shapes) + 1, taken)
    options = kernel_options(cell) | {"dtype": source.dtype_policy, "trainable": source.trainable}
    return [
        layers.Dense(factor.shape[-1], use_bias=False, name=name, **options)
        for name, factor in zip(names, shapes, strict=False)
    ]
