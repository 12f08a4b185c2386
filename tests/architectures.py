"""Attention-heavy nets as users write them: a small ViT and a small text classifier, each in several styles.

Widths are such that half of the full rank saves multiply-accumulates in every kernel of the blocks.
"""

import keras
import numpy as np
from keras import layers, ops

CLASSES, IMAGE, PATCH, WIDTH, HEADS, HEAD_WIDTH = 4, (16, 16, 3), 4, 32, 2, 32
PATCHES = (IMAGE[0] // PATCH) ** 2
VOCABULARY, LENGTH = 60, 12


def pictures(count=48, seed=0):
    """Noise, with one of four corners bright, which is the class."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, CLASSES, count)
    images = rng.normal(0.4, 0.1, (count, *IMAGE)).astype("float32")
    for image, label in zip(images, classes, strict=True):
        row, column = 8 * (label // 2), 8 * (label % 2)
        image[row : row + 8, column : column + 8] += 0.5
    return images, classes


def texts(count=64, seed=0):
    """Random words of varying number, padded with zeros, among them words of the class."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, CLASSES, count)
    tokens = rng.integers(10, VOCABULARY, (count, LENGTH))
    for row, label in zip(tokens, classes, strict=True):
        row[:4] = 1 + label
        row[rng.integers(6, LENGTH + 1) :] = 0
    return tokens, classes


def _functional_block(x, name):
    attended = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm1")(x)
    attended = layers.MultiHeadAttention(HEADS, HEAD_WIDTH, dropout=0.1, name=f"{name}_attention")(attended, attended)
    x = layers.Add(name=f"{name}_add1")([x, attended])
    y = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm2")(x)
    y = layers.Dense(2 * WIDTH, activation="gelu", name=f"{name}_mlp1")(y)
    y = layers.Dropout(0.1, name=f"{name}_dropout")(layers.Dense(WIDTH, name=f"{name}_mlp2")(y))
    return layers.Add(name=f"{name}_add2")([x, y])


def functional_vit():
    """Functional, of stock layers and operations alone."""
    inputs = keras.Input(IMAGE, name="image")
    x = layers.Rescaling(2.0, offset=-1.0)(inputs)
    x = layers.Conv2D(WIDTH, PATCH, strides=PATCH, name="patches")(x)
    x = layers.Reshape((PATCHES, WIDTH), name="tokens")(x)
    places = ops.cumsum(ops.ones_like(x[..., 0], dtype="int32"), axis=1) - 1
    x = x + layers.Embedding(PATCHES, WIDTH, name="places")(places)
    x = _functional_block(x, "block")
    x = layers.LayerNormalization(epsilon=1e-6, name="norm")(x)
    x = layers.GlobalAveragePooling1D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(CLASSES, activation="softmax", name="head")(x), name="functional_vit")


class Patches(layers.Layer):
    """Cuts images into patches, as the Keras example does."""

    def __init__(self, patch_size, **kwargs):
        super().__init__(**kwargs)
        self.patch_size = patch_size

    def call(self, images):
        _, height, width, channels = images.shape
        rows, columns = height // self.patch_size, width // self.patch_size
        x = ops.reshape(images, (-1, rows, self.patch_size, columns, self.patch_size, channels))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
        return ops.reshape(x, (-1, rows * columns, self.patch_size * self.patch_size * channels))

    def get_config(self):
        return {**super().get_config(), "patch_size": self.patch_size}


class PatchEncoder(layers.Layer):
    """Projects patches and adds where they are, as the Keras example does, without a `get_config`."""

    def __init__(self, num_patches, projection_dim):
        super().__init__()
        self.num_patches = num_patches
        self.projection = layers.Dense(units=projection_dim)
        self.position_embedding = layers.Embedding(input_dim=num_patches, output_dim=projection_dim)

    def call(self, patch):
        positions = ops.expand_dims(ops.arange(start=0, stop=self.num_patches, step=1), axis=0)
        return self.projection(patch) + self.position_embedding(positions)


class TransformerBlock(layers.Layer):
    """Attention and a Sequential, each with a norm and a residual, as the Keras examples do."""

    def __init__(self, embed_dim, num_heads, ff_dim, rate=0.1, **kwargs):
        super().__init__(**kwargs)
        self.settings = {"embed_dim": embed_dim, "num_heads": num_heads, "ff_dim": ff_dim, "rate": rate}
        self.att = layers.MultiHeadAttention(num_heads=num_heads, key_dim=HEAD_WIDTH)
        self.ffn = keras.Sequential([layers.Dense(ff_dim, activation="gelu"), layers.Dense(embed_dim)])
        self.layernorm1 = layers.LayerNormalization(epsilon=1e-6)
        self.layernorm2 = layers.LayerNormalization(epsilon=1e-6)
        self.dropout1 = layers.Dropout(rate)
        self.dropout2 = layers.Dropout(rate)
        self.supports_masking = True

    def call(self, inputs, training=None, mask=None):
        attention_mask = None if mask is None else mask[:, None, :]
        attended = self.att(inputs, inputs, attention_mask=attention_mask)
        out1 = self.layernorm1(inputs + self.dropout1(attended, training=training))
        return self.layernorm2(out1 + self.dropout2(self.ffn(out1), training=training))

    def get_config(self):
        return {**super().get_config(), **self.settings}


def layered_vit():
    """Functional, of layers of one's own that are made of layers, as in the Keras examples."""
    inputs = keras.Input(IMAGE)
    x = PatchEncoder(PATCHES, WIDTH)(Patches(PATCH, name="cut")(inputs))
    x = TransformerBlock(WIDTH, HEADS, 2 * WIDTH, name="block")(x)
    x = layers.Flatten()(x)
    x = layers.Dropout(0.1)(layers.Dense(48, activation="gelu", name="features")(x))
    return keras.Model(inputs, layers.Dense(CLASSES, activation="softmax", name="head")(x), name="layered_vit")


class ViT(keras.Model):
    """A subclassed model with a class token, blocks in a list, and no `get_config`."""

    def __init__(self, depth=2, classes=CLASSES):
        super().__init__()
        self.embed = layers.Conv2D(WIDTH, PATCH, strides=PATCH, name="embed")
        self.class_token = self.add_weight(shape=(1, 1, WIDTH), initializer="random_normal", name="class_token")
        self.places = self.add_weight(shape=(1, PATCHES + 1, WIDTH), initializer="random_normal", name="places")
        self.blocks = [TransformerBlock(WIDTH, HEADS, 2 * WIDTH, rate=0.0) for _ in range(depth)]
        self.norm = layers.LayerNormalization()
        self.head = layers.Dense(classes, activation="softmax", name="head")

    def call(self, images, training=False):
        x = self.embed(images)
        x = ops.reshape(x, (-1, PATCHES, WIDTH))
        tokens = ops.broadcast_to(self.class_token, (ops.shape(x)[0], 1, WIDTH))
        x = ops.concatenate([tokens, x], axis=1) + self.places
        for block in self.blocks:
            x = block(x, training=training)
        return self.head(self.norm(x[:, 0]))


def subclassed_vit():
    """The subclassed ViT, built by a call."""
    model = ViT()
    model(pictures(2)[0])
    return model


class PositionEmbedding(layers.Layer):
    """Adds a row of weights to each position; masks pass through."""

    def __init__(self, length, **kwargs):
        super().__init__(**kwargs)
        self.length = length
        self.supports_masking = True

    def build(self, input_shape):
        self.places = self.add_weight(shape=(self.length, input_shape[-1]), initializer="random_normal", name="places")

    def call(self, x):
        return x + self.places[: x.shape[1]]

    def get_config(self):
        return {**super().get_config(), "length": self.length}


def functional_text():
    """Functional, of stock layers but for the positions; padding is masked."""
    inputs = keras.Input((LENGTH,), dtype="int32", name="tokens")
    x = layers.Embedding(VOCABULARY, WIDTH, mask_zero=True, name="words")(inputs)
    x = PositionEmbedding(LENGTH, name="places")(x)
    x = _functional_block(x, "block")
    x = layers.GlobalAveragePooling1D(name="pool")(x)
    x = layers.Dense(24, activation="relu", name="hidden")(x)
    return keras.Model(inputs, layers.Dense(CLASSES, activation="softmax", name="head")(x), name="functional_text")


class TextClassifier(keras.Model):
    """A subclassed text classifier, with a dict of layers and a `get_config`."""

    def __init__(self, vocabulary, length):
        super().__init__()
        self.arguments = {"vocabulary": vocabulary, "length": length}
        self.embed = {
            "words": layers.Embedding(vocabulary, WIDTH, mask_zero=True, name="words"),
            "places": PositionEmbedding(length, name="places"),
        }
        self.block = TransformerBlock(WIDTH, HEADS, 2 * WIDTH, name="block")
        self.pool = layers.GlobalAveragePooling1D()
        self.hidden = layers.Dense(24, activation="relu", name="hidden")
        self.head = layers.Dense(CLASSES, activation="softmax", name="head")

    def call(self, tokens):
        x = self.embed["words"](tokens)
        x = self.block(self.embed["places"](x))
        return self.head(self.hidden(self.pool(x)))

    def get_config(self):
        return dict(self.arguments)


def subclassed_text():
    """The subclassed text classifier, built by a call on whole numbers."""
    model = TextClassifier(VOCABULARY, LENGTH)
    model(texts(2)[0])
    return model


ARCHITECTURES = {
    functional_vit: pictures,
    layered_vit: pictures,
    subclassed_vit: pictures,
    functional_text: texts,
    subclassed_text: texts,
}
