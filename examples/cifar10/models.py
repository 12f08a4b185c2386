"""The networks of the CIFAR-10 experiments.

ResNets follow He et al. 2016 (arXiv 1512.03385, section 4.2) with the parameter-free shortcut ("option A"):
where the shape changes, the identity is subsampled and padded with zero channels. VGG-16-BN follows
Simonyan & Zisserman 2015 (arXiv 1409.1556) with a batch norm after each convolution and one Dense layer.
"""

import keras
from keras import layers

RESNET_DEPTHS = (20, 32, 44, 56, 110)
VGG16_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


def _conv(x, filters, size, strides, weight_decay, name):
    # The penalty is weight_decay / 2 * |w|^2, whose gradient is weight_decay * w, as in the papers.
    regularizer = keras.regularizers.L2(weight_decay / 2) if weight_decay else None
    return layers.Conv2D(
        filters, size, strides, padding="same", use_bias=False, kernel_initializer="he_normal",
        kernel_regularizer=regularizer, name=name,
    )(x)  # fmt: skip


def _conv_bn(x, filters, strides, weight_decay, name):
    x = _conv(x, filters, 3, strides, weight_decay, name)
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(x)


def _shortcut(x, filters, strides):
    missing = filters - x.shape[-1]
    if strides > 1:
        x = layers.AveragePooling2D(pool_size=1, strides=strides)(x)
    if missing:
        x = keras.ops.pad(x, ((0, 0), (0, 0), (0, 0), (missing // 2, missing - missing // 2)))
    return x


def resnet(depth: int, *, weight_decay: float = 1e-4, input_shape=(32, 32, 3), classes: int = 10) -> keras.Model:
    """Builds a CIFAR ResNet with parameter-free shortcuts.

    Args:
        depth: 20, 32, 44, 56 or 110.
        weight_decay: Coefficient `w` of the gradient term `w * kernel`; 0 for none.
        input_shape: `(height, width, channels)`.
        classes: Number of logits.

    Returns:
        A Functional model from normalised images to logits.

    Raises:
        ValueError: `depth` is not one of the published ones.
    """
    if depth not in RESNET_DEPTHS:
        raise ValueError(f"`depth` must be one of {RESNET_DEPTHS}. Received: depth={depth}")
    inputs = keras.Input(input_shape, name="image")
    x = layers.ReLU()(_conv_bn(inputs, 16, 1, weight_decay, "stem"))
    for stage, filters in enumerate((16, 32, 64), start=1):
        for block in range(1, (depth - 2) // 6 + 1):
            strides = 2 if stage > 1 and block == 1 else 1
            name = f"stage{stage}_block{block}"
            y = layers.ReLU()(_conv_bn(x, filters, strides, weight_decay, f"{name}_conv1"))
            y = _conv_bn(y, filters, 1, weight_decay, f"{name}_conv2")
            x = layers.ReLU()(layers.Add()([y, _shortcut(x, filters, strides)]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name=f"resnet{depth}")


def vgg16_bn(*, weight_decay: float = 1e-4, input_shape=(32, 32, 3), classes: int = 10) -> keras.Model:
    """Builds VGG-16 with batch norms and one Dense layer, for small images.

    Args:
        weight_decay: Coefficient `w` of the gradient term `w * kernel`; 0 for none.
        input_shape: `(height, width, channels)`.
        classes: Number of logits.

    Returns:
        A Functional model from normalised images to logits.
    """
    inputs = x = keras.Input(input_shape, name="image")
    for stage, (filters, convs) in enumerate(VGG16_STAGES, start=1):
        for index in range(1, convs + 1):
            x = layers.ReLU()(_conv_bn(x, filters, 1, weight_decay, f"stage{stage}_conv{index}"))
        x = layers.MaxPooling2D()(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name="vgg16_bn")


MODELS = {
    "resnet20": lambda **options: resnet(20, **options),
    "resnet32": lambda **options: resnet(32, **options),
    "resnet56": lambda **options: resnet(56, **options),
    "resnet110": lambda **options: resnet(110, **options),
    "vgg16_bn": vgg16_bn,
}
