"""Random small models: every family of layers, nested, shared, and with layers of one's own. What draws them is hypothesis."""

import inspect
import json
import math

import keras
import numpy as np
from hypothesis import strategies as st
from keras import layers, ops

from lrpet_tf.layers import LowRankConv2D, LowRankDense, LRPETConv2D, LRPETDense

VOCABULARY = 11
_LARGEST = 400  # values of a tensor, without the batch
_DEEPEST = 3
_RECURRENT = (layers.LSTM, layers.GRU, layers.SimpleRNN)


def _deserialized(config):
    return keras.saving.deserialize_keras_object(config)


class _MadeOfLayers:
    """Layers made from configurations, kept in one of the ways in which people keep layers, and called in Python code."""

    def __init__(self, parts, kept="list", way="plain", **kwargs):
        super().__init__(**kwargs)
        self.kept, self.way = kept, way
        made = [_deserialized(part) for part in json.loads(parts)]
        self.count = len(made)
        if kept == "list":
            self.parts = made
        elif kept == "dict":
            self.parts = {f"part{index}": part for index, part in enumerate(made)}
        elif kept == "tuples":
            self.parts = [(part, index) for index, part in enumerate(made)]
        else:
            for index, part in enumerate(made):
                setattr(self, f"part{index}", part)

    def _part(self, index):
        if self.kept == "list":
            return self.parts[index]
        if self.kept == "dict":
            return self.parts[f"part{index}"]
        return self.parts[index][0] if self.kept == "tuples" else getattr(self, f"part{index}")

    def call(self, inputs):
        x = inputs
        for index in range(self.count):
            before, x = x, self._part(index)(x)
            if tuple(before.shape) == tuple(x.shape) and self.way == "residual":
                x = before + x
            if tuple(before.shape) == tuple(x.shape) and self.way == "twice":
                x = self._part(index)(x)
        return x


@keras.saving.register_keras_serializable(package="tests")
class Block(_MadeOfLayers, layers.Layer):
    """A layer made of layers, without a configuration of its own: Keras notes its arguments."""


@keras.saving.register_keras_serializable(package="tests")
class ConfiguredBlock(_MadeOfLayers, layers.Layer):
    """The same with all that a careful author writes, and a matrix of weights of its own."""

    def __init__(self, parts, **kwargs):
        self.given = parts
        super().__init__(parts, **kwargs)

    def build(self, input_shape):
        self.mixing = self.add_weight((input_shape[-1], input_shape[-1]), name="mixing")
        for part in map(self._part, range(self.count)):
            if not part.built:
                part.build(input_shape)
            input_shape = part.compute_output_shape(input_shape)

    def compute_output_shape(self, input_shape):
        for part in map(self._part, range(self.count)):
            input_shape = part.compute_output_shape(input_shape)
        return input_shape

    def call(self, inputs):
        return super().call(ops.matmul(inputs, self.mixing))

    def get_config(self):
        return {**super().get_config(), "parts": self.given, "kept": self.kept, "way": self.way}


@keras.saving.register_keras_serializable(package="tests")
class CodeModel(_MadeOfLayers, keras.Model):
    """A subclassed model."""

    def __init__(self, parts, **kwargs):
        self.given = parts
        super().__init__(parts, **kwargs)

    def get_config(self):
        return {"name": self.name, "parts": self.given, "kept": self.kept, "way": self.way}


@keras.saving.register_keras_serializable(package="tests")
class OwnSteps(keras.Model):
    """A Functional model with a training step of its own, which is still a graph."""

    def train_step(self, data):
        return super().train_step(data)


@keras.saving.register_keras_serializable(package="tests")
class Joined(layers.Layer):
    """A layer of two inputs, the second of which may be missing."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.first, self.second = layers.Dense(units, name="first"), layers.Dense(units, name="second")

    def build(self, x_shape, extra_shape=None):
        self.first.build(x_shape)
        self.second.build(x_shape)

    def call(self, x, extra=None):
        return self.first(x) if extra is None else self.first(x) + self.second(extra)

    def compute_output_shape(self, x_shape, extra_shape=None):
        return (*x_shape[:-1], self.units)


class _Graph:
    """A graph being drawn: its tensors so far, those that something reads, and the names that are taken."""

    def __init__(self, inputs, depth):
        self.tensors, self.read, self.depth = list(inputs), set(), depth
        self.names = {each._keras_history.operation.name for each in inputs}


class Builder:
    """Draws models.

    Args:
        draw: What draws a value from a strategy.
    """

    def __init__(self, draw):
        self._draw = draw
        self._reusable = []  # (layer or model, shapes and types of its inputs, how it is called)

    def one_of(self, *values):
        return self._draw(st.sampled_from(values))

    def chance(self):
        """Returns whether something is to be done that seldom is; when examples are made smaller, it is not."""
        return self._draw(st.integers(0, 3)) == 3

    def size(self, least, most):
        return self._draw(st.integers(least, most))

    # Whole models

    def model(self):
        """Returns a model and inputs for it."""
        kind = self.one_of("functional", "functional", "functional", "sequential", "own steps", "code")
        if kind == "sequential":
            shape = self._shape()
            model = keras.Sequential([keras.Input(shape), *self._row(shape, self.size(1, 5), _DEEPEST)], name="net")
            return model, self._data(model.inputs[0])
        if kind == "code":
            shape = self._shape()
            parts = self._parts(shape, self.size(1, 3), _DEEPEST, layers.Dense(3))
            model = CodeModel(parts, **self._ways(), name="net")
            data = self._data(keras.KerasTensor((None, *shape)))
            model(data)
            return model, data
        inputs = [self._input(index) for index in range(self.size(1, 3))]
        graph = _Graph(inputs, _DEEPEST)
        self._grow(graph, self.size(1, 8))
        optional = None
        if self.chance():
            optional = self._optional(graph)
            inputs += [optional]
        names = [each._keras_history.operation.name for each in inputs]
        given = inputs if len(inputs) > 1 or self.chance() else inputs[0]
        as_dict = self.chance()
        if as_dict:
            given = dict(zip(names, inputs, strict=True))
        kind = OwnSteps if kind == "own steps" else keras.Model
        model = kind(given, self._outputs(graph), name="net")
        data = [None if each is optional and self.chance() else self._data(each) for each in inputs]
        if as_dict:
            return model, dict(zip(names, data, strict=True))
        return model, data if isinstance(given, list) else data[0]

    def _shape(self):
        return self.one_of((6,), (5, 6), (6, 6, 4), (5, 4, 3), (3, 4, 4, 2))

    def _input(self, index):
        if self.chance():
            return keras.Input((5,), dtype="int32", name=f"tokens{index}")
        shape = self._shape()
        return keras.Input(shape, name=f"input{index}" if self.chance() else None)

    def _optional(self, graph):
        x = self._pick(graph, lambda tensor: _is_float(tensor) and len(tensor.shape) == 2)
        x = self._vector(graph) if x is None else x
        extra = keras.Input(x.shape[1:], name="extra", optional=True)
        self._add(graph, [x], self._named(graph, Joined, 4)(x, extra))
        return extra

    def _vector(self, graph):
        x = graph.tensors[-1]
        if not _is_float(x):
            x = self._add(graph, [x], layers.Embedding(VOCABULARY, 4)(x))
        return self._add(graph, [x], layers.Flatten()(x)) if len(x.shape) > 2 else x

    def _data(self, tensor):
        shape = (2, *tensor.shape[1:])
        rng = np.random.default_rng(math.prod(shape))
        return rng.standard_normal(shape) if _is_float(tensor) else rng.integers(0, VOCABULARY, shape).astype("int32")

    def _outputs(self, graph):
        """Returns all tensors that nothing reads, and perhaps one more, as a tensor, a list or a dict."""
        found = [each for each in graph.tensors if id(each) not in graph.read]
        if self.chance():
            found.append(self.one_of(*graph.tensors))
        kind = self.one_of("list", "dict", "nested")
        if len(found) == 1 and not self.chance():
            return found[0]
        if kind == "nested":
            return {"first": found[0], "rest": found[1:]} if len(found) > 1 else [found]
        return {f"out{index}": each for index, each in enumerate(found)} if kind == "dict" else found

    # Steps

    def _grow(self, graph, steps):
        for _ in range(steps):
            step = self.one_of(
                self._layer, self._layer, self._layer, self._shared, self._shared, self._operation, self._merged,
                self._nested, self._attention, self._own, self._recurrent_states, self._part_of_a_model,
            )  # fmt: skip
            step(graph)

    def _pick(self, graph, fits=lambda tensor: True):
        """Returns one of the latest tensors that fit, the last one by preference, or `None`."""
        found = [tensor for tensor in reversed(graph.tensors) if fits(tensor)][:4]
        return self.one_of(*found) if found else None

    def _add(self, graph, read, outputs):
        graph.read |= {id(each) for each in read}
        graph.tensors += keras.tree.flatten(outputs)
        return graph.tensors[-1]

    def _named(self, graph, kind, *args, **kwargs):
        """Makes a layer with a name of its own, one that other graphs use too, or one that a factor would have."""
        names = [f"layer{len(graph.names)}", *(f"{name}_factor0" for name in sorted(graph.names) if len(name) < 10)][:3]
        name = self.one_of(*names)
        if name not in graph.names and self.chance():
            kwargs["name"] = name
        made = kind(*args, **kwargs)
        graph.names.add(made.name)
        return made

    def _remember(self, layer, inputs, call):
        self._reusable.append((layer, [_signature(each) for each in inputs], call))
        return call(inputs)

    def _layer(self, graph):
        x = self._pick(graph)
        layer = self._stock(graph, tuple(x.shape[1:]), _is_float(x))
        self._add(graph, [x], self._remember(layer, [x], lambda inputs: layer(inputs[0])))

    def _shared(self, graph):
        """Calls a layer or model again, perhaps one that another graph has made."""
        known = {}
        for tensor in graph.tensors:
            known.setdefault(_signature(tensor), []).append(tensor)
        mine = {id(each) for tensor in graph.tensors for each in (tensor._keras_history.operation,)}
        fits = [
            entry
            for entry in self._reusable
            if all(each in known for each in entry[1]) and (id(entry[0]) in mine or entry[0].name not in graph.names)
        ]
        if not fits:
            return self._layer(graph)
        layer, signatures, call = self.one_of(*fits[::-1])
        inputs = [self.one_of(*known[each][::-1][:4]) for each in signatures]
        graph.names.add(layer.name)
        self._add(graph, inputs, call(inputs))

    def _operation(self, graph):
        x = self._pick(graph, _is_float)
        if x is None:
            return self._layer(graph)
        constant = np.linspace(0.5, 1.0, x.shape[-1])
        operation = self.one_of(
            ops.sin,
            lambda x: x * 2.0,
            lambda x: 0.5 + x,
            lambda x: x + constant,
            lambda x: ops.split(x, [1], axis=-1) if x.shape[-1] > 1 else ops.tanh(x),
            lambda x: ops.swapaxes(x, 1, -1),
            lambda x: ops.reshape(x, (-1, math.prod(x.shape[1:]))),
            lambda x: x[:, 1:] if x.shape[1] > 1 else x + 1.0,
            lambda x: ops.maximum(x, -x),
            lambda x: ops.concatenate([x, ops.cos(x)], axis=-1) if math.prod(x.shape[1:]) < _LARGEST // 2 else ops.cos(x),
        )
        self._add(graph, [x], operation(x))

    def _merged(self, graph):
        x = self._pick(graph, _is_float)
        if x is None:
            return self._layer(graph)
        same = [each for each in graph.tensors if _signature(each) == _signature(x)]
        others = [each for each in graph.tensors if _is_float(each) and each.shape[1:-1] == x.shape[1:-1]]
        kind = self.one_of(layers.Add, layers.Concatenate, layers.Maximum, layers.Average, layers.Multiply)
        other = self.one_of(*(others if kind is layers.Concatenate else same)[::-1])
        if x.shape[-1] + other.shape[-1] > 16:
            return self._layer(graph)
        self._add(graph, [x, other], self._named(graph, kind)([x, other]))

    def _nested(self, graph):
        """Makes a model of one or two tensors, and calls it."""
        if not graph.depth:
            return self._layer(graph)
        xs = [self._pick(graph)]
        if self.chance():
            model = keras.Sequential(
                [keras.Input(xs[0].shape[1:], dtype=xs[0].dtype), *self._row(*_shape_and_kind(xs[0]), depth=graph.depth - 1)]
            )
            self._rename(graph, model)
            return self._add(graph, xs, self._remember(model, xs, lambda inputs: model(inputs[0])))
        if self.chance():
            xs.append(self._pick(graph))
        inputs = [keras.Input(x.shape[1:], dtype=x.dtype) for x in xs]
        inner = _Graph(inputs, graph.depth - 1)
        self._grow(inner, self.size(1, 3))
        names = [each._keras_history.operation.name for each in inputs]
        how = self.one_of("list", "dict") if len(xs) > 1 else self.one_of("tensor", "list", "dict")
        given = {"tensor": inputs[0], "list": inputs, "dict": dict(zip(names, inputs, strict=True))}[how]
        model = keras.Model(given, self._outputs(inner))
        self._rename(graph, model)
        calls = {
            "tensor": lambda xs: model(xs[0]),
            "list": lambda xs: model(list(xs)),
            "dict": lambda xs: model(dict(zip(names, xs, strict=True))),
        }
        self._add(graph, xs, self._remember(model, xs, calls[how]))

    def _part_of_a_model(self, graph):
        """Makes a model of a model's first layers, which both have then, and calls it."""
        known = {_signature(tensor) for tensor in graph.tensors}
        fits = [
            (model, signatures)
            for model, signatures, _ in self._reusable
            if type(model) is keras.Model.__mro__[0] or isinstance(model, keras.Model)
            if hasattr(model, "_run_through_graph") and not isinstance(model, keras.Sequential)
            if len(signatures) == 1 and signatures[0] in known and isinstance(model.input, keras.KerasTensor)
        ]
        if not fits:
            return self._layer(graph)
        model, signatures = self.one_of(*fits[::-1])
        inside = [node.outputs[0] for nodes in model._nodes_by_depth.values() for node in nodes]
        part = keras.Model(model.input, self.one_of(*inside))
        graph.names.add(part.name)
        x = self._pick(graph, lambda tensor: _signature(tensor) == signatures[0])
        self._add(graph, [x], self._remember(part, [x], lambda inputs: part(inputs[0])))

    def _rename(self, graph, model):
        name = f"model{len(graph.names)}"
        if self.chance() and name not in graph.names:
            model.name = name
        if self.chance():
            model.trainable = False
        graph.names.add(model.name)

    def _attention(self, graph):
        x = self._pick(graph, lambda tensor: _is_float(tensor) and len(tensor.shape) in (3, 4) and tensor.shape[-1] < 13)
        if x is None:
            return self._layer(graph)
        if len(x.shape) == 4 or not self.chance():
            fits = [each for each in graph.tensors if _is_float(each) and len(each.shape) == len(x.shape)]
            if len(x.shape) == 4:
                fits = [x]
            value, key, layer = self.one_of(*fits[::-1]), None, self._multi_head(graph, len(x.shape))
            if self.chance():
                same = [each for each in graph.tensors if _is_float(each) and each.shape[:-1] == value.shape[:-1]]
                key = self.one_of(*same)
        else:
            value, key, layer = x, None, self._grouped(graph, x.shape[-1])
        options = {}
        if self.chance() and len(x.shape) == 3:
            options["use_causal_mask"] = True
        scores = len(x.shape) == 3 and self.chance()  # of images Keras tells another shape than it gives
        if scores:
            options["return_attention_scores"] = True
        read = [x, value] + ([] if key is None else [key])
        by_name = self.chance()

        def call(inputs):
            query, value, *key = inputs
            if by_name:
                given = {"value": value, "query": query} | ({"key": key[0]} if key else {})
                outputs = layer(**given, **options)
            else:
                outputs = layer(query, value, *key, **options)
            return outputs[0] if scores and by_name else outputs

        self._add(graph, read, self._remember(layer, read, call))

    def _multi_head(self, graph, rank):
        options = {"use_bias": not self.chance(), "dropout": self.one_of(0.0, 0.1)}
        if self.chance():
            options["value_dim"] = 3
        if self.chance():
            options["output_shape"] = self.one_of(5, (4,), (2, 3))
        if rank == 4:
            options["attention_axes"] = self.one_of(None, (1, 2), (1,))
        if "use_gate" in inspect.signature(layers.MultiHeadAttention).parameters and self.chance():
            options["use_gate"] = True
        return self._named(graph, layers.MultiHeadAttention, self.size(1, 2), self.size(2, 3), **options)

    def _grouped(self, graph, channels):
        groups = self.size(1, 2)
        options = {"use_bias": not self.chance()}
        if "use_gate" in inspect.signature(layers.GroupQueryAttention).parameters and self.chance():
            options["use_gate"] = True
        return self._named(graph, layers.GroupQueryAttention, self.size(2, 3), groups * self.size(1, 2), groups, **options)

    def _recurrent_states(self, graph):
        """One recurrent layer that hands its states to another one."""
        x = self._pick(graph, lambda tensor: _is_float(tensor) and len(tensor.shape) == 3)
        if x is None:
            return self._layer(graph)
        kind = self.one_of(layers.LSTM, layers.GRU)
        first = self._named(graph, kind, 4, return_sequences=self.chance(), return_state=True)
        outputs, *states = self._remember(first, [x], lambda inputs: first(inputs[0]))
        graph.tensors += [outputs, *states]
        second = self._named(graph, kind, 4, return_sequences=self.chance(), use_bias=not self.chance())
        self._add(graph, [x, *states], second(x, initial_state=states))

    # Layers made of layers

    def _own(self, graph):
        x = self._pick(graph, _is_float)
        if x is None or not graph.depth:
            return self._layer(graph)
        kind = self.one_of(Block, ConfiguredBlock)
        parts = self._parts(tuple(x.shape[1:]), self.size(1, 2), graph.depth - 1, own=(kind,))
        block = self._named(graph, kind, parts, **self._ways())
        self._add(graph, [x], self._remember(block, [x], lambda inputs: block(inputs[0])))

    def _ways(self):
        return {"kept": self.one_of("list", "dict", "tuples", "attributes"), "way": self.one_of("plain", "residual", "twice")}

    def _parts(self, shape, count, depth, *others, own=(Block,)):
        """Returns as JSON the configurations of layers that may be called one after the other."""
        row = self._row(shape, count=count, depth=depth, own=own)
        configs = [keras.saving.serialize_keras_object(layer) for layer in [*row, *others]]
        return json.dumps([{key: value for key, value in config.items() if key != "build_config"} for config in configs])

    def _row(self, shape, is_float=True, count=None, depth=0, own=(Block,)):
        """Returns layers that may be called one after the other, models and layers made of layers among them."""
        made, graph = [], _Graph([], depth)
        x = keras.KerasTensor((None, *shape), None if is_float else "int32")
        for _ in range(count or self.size(1, 3)):
            shape, is_float = _shape_and_kind(x)
            kind = self.one_of("stock", "stock", "stock", "nested", "own") if depth and is_float else "stock"
            if kind == "nested":
                inputs = keras.Input(shape)
                inner = _Graph([inputs], depth - 1)
                self._grow(inner, self.size(1, 2))
                floats = [each for each in inner.tensors if _is_float(each)]
                layer = keras.Model(inputs, floats[-1])
            elif kind == "own":
                parts = self._parts(shape, self.size(1, 2), depth - 1, own=own)
                layer = self._named(graph, self.one_of(*own), parts, **self._ways())
            else:
                layer = self._stock(graph, shape, is_float)
            made.append(layer)
            x = layer(keras.Input(x.shape[1:], dtype=x.dtype)) if kind != "stock" else layer(x)
        return made

    # Stock layers

    def _stock(self, graph, shape, is_float=True):
        """Returns a layer that takes one tensor of a shape, without the batch, and gives one."""
        if not is_float:
            kind = layers.Embedding
            return self._named(graph, kind, VOCABULARY, self.size(3, 6), mask_zero=self.chance())
        families = {1: self._on_vectors, 2: self._on_sequences, 3: self._on_images, 4: self._on_volumes}
        return families.get(len(shape), self._on_many_axes)(graph, shape)

    def _channels(self):
        return self.size(2, 5)

    def _options(self):
        options = {"use_bias": not self.chance()}
        if self.chance():
            options["activation"] = self.one_of("relu", "tanh", "softmax", keras.activations.gelu, layers.LeakyReLU(0.1))
        return options

    def _simple(self, graph, shape):
        """Layers for any shape."""
        makers = [
            lambda: self._named(graph, layers.BatchNormalization, scale=not self.chance(), center=not self.chance()),
            lambda: self._named(graph, layers.Activation, self.one_of("relu", "tanh", "linear", "sigmoid")),
            lambda: self._named(graph, layers.Dropout, 0.3),
            lambda: self._named(graph, layers.LeakyReLU),
            lambda: self._named(graph, layers.PReLU),
            lambda: self._named(graph, layers.LayerNormalization, epsilon=0.1),
            lambda: self._named(graph, layers.Rescaling, 0.5, 0.1),
            lambda: self._named(graph, layers.Identity),
        ]
        return self.one_of(*makers)()

    def _dense(self, graph, shape):
        if self.chance():
            kind = self.one_of(LRPETDense, LowRankDense)
            return self._named(graph, kind, self._channels(), rank=self.one_of(0.5, 1, 1.0), **self._options())
        return self._named(graph, layers.Dense, self._channels(), **self._options())

    def _einsum(self, graph, shape):
        before, options = "bcde"[: len(shape) - 1], self._options()
        equations = {
            f"a{before}x,xy->a{before}y": ((*shape[:-1], 4), ("y", None)),
            "...x,xy->...y": (4, ("y", None)),
            f"a{before}x,yx->a{before}y": ((*shape[:-1], 3), ("y", None)),
        }
        if len(shape) < 4:
            equations[f"a{before}x,xyz->a{before}yz"] = ((*shape[:-1], 2, 3), ("yz", "z", None))
        if len(shape) > 1:
            kept = before[:-1]
            equations[f"a{before}x,{before[-1]}xy->a{kept}y"] = ((*shape[:-2], 4), ("y", None))
            equations[f"a{before}x,{before[-1]}xy->a{before}y"] = ((*shape[:-1], 3), ("y", f"{before[-1]}y", None))
            equations[f"a{before}x,xy->ay{before}"] = ((4, *shape[:-1]), ("y", None))
        equation = self.one_of(*equations)
        sizes, biases = equations[equation]
        bias = self.one_of(*biases) if options.pop("use_bias") else None
        return self._named(graph, layers.EinsumDense, equation, sizes, bias_axes=bias, **options)

    def _on_vectors(self, graph, shape):
        makers = [self._dense, self._dense, self._einsum, self._simple]
        makers.append(lambda graph, shape: self._named(graph, layers.RepeatVector, 4))
        return self.one_of(*makers)(graph, shape)

    def _convolution(self, graph, kind, shape):
        """Any convolution of a kind that fits the sizes."""
        *sizes, channels = shape
        kernel = [min(self.size(1, 3), size) for size in sizes]
        options = {"padding": self.one_of("same", "valid"), **self._options()}
        if kind is layers.Conv1D and self.chance():
            options["padding"] = "causal"
        if self.chance():
            options["strides"] = self.one_of(2, (2, *(1 for _ in sizes[1:])))
            if issubclass(kind, layers.SeparableConv2D | layers.DepthwiseConv2D):
                options["strides"] = 2
        elif self.chance() and "Transpose" not in kind.__name__:
            fits = all(2 * (each - 1) < size for each, size in zip(kernel, sizes, strict=True))
            options["dilation_rate"] = 2 if fits or options["padding"] != "valid" else 1
        if "Transpose" in kind.__name__:
            kernel = [max(2, size) for size in kernel]
        filters = self._channels()
        if issubclass(kind, layers.Conv1D | layers.Conv2D | layers.Conv3D) and "Transpose" not in kind.__name__:
            if self.chance() and self.chance() and channels % 2 == 0:  # seldom: Keras compiles each such call by XLA
                options["groups"], filters = 2, 2 * self.size(1, 2)
            if self.chance() and kind is layers.Conv2D:
                kind = self.one_of(LRPETConv2D, LowRankConv2D)
                options |= {"rank": self.one_of(0.5, 1.0, 1)}
        if kind in (layers.SeparableConv1D, layers.SeparableConv2D) and self.chance():
            options["depth_multiplier"] = 2
        if kind in (layers.DepthwiseConv1D, layers.DepthwiseConv2D):
            return self._named(graph, kind, tuple(kernel), depth_multiplier=self.size(1, 2), **options)
        return self._named(graph, kind, filters, tuple(kernel), **options)

    def _grows(self, shape):
        return 4 * math.prod(shape) <= _LARGEST

    def _recurrent(self, graph, **kwargs):
        kind = self.one_of(*_RECURRENT)
        options = {"go_backwards": self.chance(), "use_bias": not self.chance(), **kwargs}
        options.setdefault("return_sequences", self.chance())
        if kind is layers.GRU:
            options["reset_after"] = not self.chance()
        return self._named(graph, kind, self.size(2, 4), **options)

    def _bidirectional(self, graph):
        inner = self._recurrent(graph, go_backwards=False)
        options = {"merge_mode": self.one_of("concat", "sum", "ave")}
        if self.chance():
            config = inner.get_config() | {"go_backwards": True, "name": "backwards", "use_bias": not self.chance()}
            options["backward_layer"] = type(inner).from_config(config)
        return self._named(graph, layers.Bidirectional, inner, **options)

    def _time_distributed(self, graph, shape):
        (inner,) = self._row(shape[1:], count=1, depth=min(graph.depth, 1), own=(ConfiguredBlock,))
        if isinstance(inner, layers.Dropout | layers.TimeDistributed):
            inner = layers.Dense(3)
        return self._named(graph, layers.TimeDistributed, inner)

    def _on_sequences(self, graph, shape):
        named = lambda kind, *args, **kwargs: lambda: self._named(graph, kind, *args, **kwargs)  # noqa: E731
        convolution = lambda *kinds: lambda: self._convolution(graph, self.one_of(*kinds), shape)  # noqa: E731
        makers = [
            lambda: self._dense(graph, shape),
            convolution(layers.Conv1D, layers.SeparableConv1D, layers.DepthwiseConv1D),
            lambda: self._recurrent(graph),
            lambda: self._bidirectional(graph),
            lambda: self._einsum(graph, shape),
            lambda: self._time_distributed(graph, shape),
            lambda: self._simple(graph, shape),
            named(layers.Flatten),
            named(self.one_of(layers.GlobalAveragePooling1D, layers.GlobalMaxPooling1D)),
            named(layers.Permute, (2, 1)),
            named(layers.Masking),
        ]
        if shape[0] > 1:
            makers.append(named(layers.MaxPooling1D))
        if self._grows(shape):
            makers.append(convolution(layers.Conv1DTranspose))
        return self.one_of(*makers)()

    def _on_images(self, graph, shape):
        named = lambda kind, *args, **kwargs: lambda: self._named(graph, kind, *args, **kwargs)  # noqa: E731
        convolution = lambda *kinds: lambda: self._convolution(graph, self.one_of(*kinds), shape)  # noqa: E731
        makers = [
            convolution(layers.Conv2D),
            convolution(layers.SeparableConv2D, layers.DepthwiseConv2D),
            lambda: self._dense(graph, shape),
            lambda: self._einsum(graph, shape),
            lambda: self._simple(graph, shape),
            lambda: self._time_distributed(graph, shape),
            named(layers.Flatten),
            named(self.one_of(layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D)),
            named(layers.Reshape, (shape[0] * shape[1], shape[2])),
        ]
        if min(shape[:2]) > 1:
            makers.append(named(self.one_of(layers.MaxPooling2D, layers.AveragePooling2D), 2))
        if self._grows(shape):
            makers += [convolution(layers.Conv2DTranspose), named(layers.UpSampling2D), named(layers.ZeroPadding2D)]
        return self.one_of(*makers)()

    def _on_volumes(self, graph, shape):
        makers = [
            lambda: self._convolution(graph, layers.Conv3D, shape),
            lambda: self._dense(graph, shape),
            lambda: self._einsum(graph, shape),
            lambda: self._simple(graph, shape),
            lambda: self._time_distributed(graph, shape),
            lambda: self._named(graph, layers.Flatten),
            lambda: self._named(graph, layers.GlobalAveragePooling3D),
            lambda: self._named(graph, layers.ConvLSTM2D, 2, 2, padding="same", return_sequences=self.chance()),
            lambda: self._named(graph, layers.Reshape, (shape[0] * shape[1], *shape[2:])),
        ]
        if self._grows(shape):
            makers.append(lambda: self._convolution(graph, layers.Conv3DTranspose, shape))
        return self.one_of(*makers)()

    def _on_many_axes(self, graph, shape):
        if len(shape) == 0:
            return layers.Reshape((1,))
        return self.one_of(lambda: self._named(graph, layers.Flatten), lambda: self._dense(graph, shape))()


def _is_float(tensor):
    return "float" in str(tensor.dtype)


def _signature(tensor):
    return tuple(tensor.shape), str(tensor.dtype)


def _shape_and_kind(tensor):
    return tuple(tensor.shape[1:]), _is_float(tensor)
