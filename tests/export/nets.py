"""Networks that are quantized in the tests, and what runs a file without any code of the library."""

import keras
import numpy as np
from keras import layers

from tests.oracle import set_batch_norm_statistics


def images(count=24, shape=(12, 12, 3), seed=1):
    return np.random.default_rng(seed).standard_normal((count, *shape)).astype("float32")


def conv_net(name="net"):
    """A convolution with batch norm and ReLU, a residual block, and a head of four classes."""
    inputs = keras.Input((12, 12, 3), name="image")
    x = layers.Conv2D(16, 3, padding="same", use_bias=False, name="stem")(inputs)
    x = layers.ReLU(name="stem_relu")(layers.BatchNormalization(name="stem_bn")(x))
    y = layers.Conv2D(16, 3, padding="same", activation="relu", name="body")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(layers.Add(name="sum")([x, y]))
    model = keras.Model(inputs, layers.Dense(4, name="logits")(x), name=name)
    set_batch_norm_statistics(model)
    return model


def transformer():
    inputs = keras.Input((8,), dtype="int32", name="tokens")
    x = layers.Embedding(30, 16, name="embed")(inputs)
    x = layers.LayerNormalization(name="norm")(x + layers.MultiHeadAttention(2, 8, name="attention")(x, x))
    x = layers.GlobalAveragePooling1D()(layers.Dense(32, activation="gelu", name="up")(x))
    return keras.Model(inputs, layers.Dense(3, name="logits")(x), name="transformer")


def recurrent():
    inputs = keras.Input((6, 5), name="steps")
    x = layers.LSTM(12, name="lstm")(inputs)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x), name="recurrent")


def run_directly(path, inputs):
    """Runs a file with LiteRT's own interpreter, sample by sample; quantizes and dequantizes as the file says."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=str(path), num_threads=1).get_signature_runner()
    takes, gives = runner.get_input_details(), runner.get_output_details()
    results = []
    for index in range(len(next(iter(inputs.values())))):
        sample = {}
        for name, array in inputs.items():
            scale, zero = takes[name]["quantization"]
            value = array[index : index + 1]
            sample[name] = np.clip(np.round(value / scale) + zero, -128, 127).astype(takes[name]["dtype"]) if scale else value
        outputs = runner(**sample)
        results.append(
            {
                name: (value.astype("float32") - gives[name]["quantization"][1]) * gives[name]["quantization"][0]
                if gives[name]["quantization"][0]
                else np.array(value)
                for name, value in outputs.items()
            }
        )
    return {name: np.concatenate([result[name] for result in results]) for name in results[0]}


def tensors(path):
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_path=str(path)).get_tensor_details()


def operators(path):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kind = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    return [
        each["op_name"] for each in Interpreter(model_path=str(path), experimental_op_resolver_type=kind)._get_ops_details()
    ]
