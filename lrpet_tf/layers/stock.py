"""Chains of stock Keras layers that stand for one layer: the last takes its name, bias and activation."""

from collections.abc import Collection, Sequence

from keras import layers

from lrpet_tf.linalg import FactorShape


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


def _kernel_options(source) -> dict:
    return {
        "kernel_initializer": source.kernel_initializer,
        "kernel_regularizer": source.kernel_regularizer,
        "kernel_constraint": source.kernel_constraint,
        "dtype": source.dtype_policy,
        "trainable": source.trainable,
    }


def _output_options(source) -> dict:
    return {
        "use_bias": source.use_bias,
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


def _options(source, index: int, count: int) -> dict:
    last = index == count - 1
    return _kernel_options(source) | (_output_options(source) if last else {"use_bias": False})


def conv2d_chain(source: layers.Conv2D, shapes: Sequence[FactorShape], taken: Collection[str] = ()) -> list[layers.Conv2D]:
    """Builds the Conv2D layers that stand for a convolution.

    Args:
        source: The convolution. The factor that owns a spatial axis takes its stride and dilation along it.
        shapes: Shapes of the factors, HWIO, in the order of application.
        taken: Names that other layers have.

    Returns:
        Unbuilt layers, of the same dtype policy, regularizers, constraints, data format and `trainable`.
    """
    chain = []
    for index, (name, factor) in enumerate(zip(factor_names(source.name, len(shapes), taken), shapes, strict=True)):
        chain.append(
            layers.Conv2D(
                factor.shape[3],
                factor.shape[:2],
                strides=[source.strides[axis] if axis in factor.spatial_axes else 1 for axis in (0, 1)],
                dilation_rate=[source.dilation_rate[axis] if axis in factor.spatial_axes else 1 for axis in (0, 1)],
                padding=source.padding,
                data_format=source.data_format,
                groups=source.groups if len(shapes) == 1 else 1,
                name=name,
                **_options(source, index, len(shapes)),
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
    names = factor_names(source.name, len(shapes), taken)
    return [
        layers.Dense(factor.shape[3], name=name, **_options(source, index, len(shapes)))
        for index, (name, factor) in enumerate(zip(names, shapes, strict=True))
    ]
