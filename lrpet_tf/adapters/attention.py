"""MultiHeadAttention and GroupedQueryAttention: the kernels of their projections.

The layer stays what it is, with its masks and scores. A projection of its query, key or value is `x A B`: a Dense layer without
bias makes `x A`, and the attention reads that through the kernel `B`. The projection of its output is `y A B + b`: the
attention gives `y A`, and a Dense layer after it makes the rest.
"""

import math
from collections.abc import Collection, Mapping

import numpy as np
from keras import layers, ops

from lrpet_tf.adapters.base import StockLayer
from lrpet_tf.adapters.composite import CompositeAdapter, Rebuilt
from lrpet_tf.adapters.copying import copy_operation
from lrpet_tf.layers.stock import factor_names, kernel_options
from lrpet_tf.linalg import Chain, FactorShape

_INPUTS = ("query", "key", "value")
_OUTPUT = "attention_output"


def _projections(layer) -> dict[str, layers.EinsumDense]:
    """Returns the projections by name."""
    found = {"query": layer._query_dense, "key": layer._key_dense, "value": layer._value_dense, _OUTPUT: layer._output_dense}
    if getattr(layer, "_use_gate", getattr(layer, "use_gate", False)):
        found["gate"] = layer._gate_dense
    return found


class MultiHeadAttentionAdapter(CompositeAdapter):
    """MultiHeadAttention: the four projections, each at a rank of its own."""

    def why_part_unsupported(self, layer, part) -> str | None:
        """The gate reads the query too, so with it neither can be made narrower."""
        name = next(name for name, projection in _projections(layer).items() if projection is part)
        if "gate" in _projections(layer) and name in ("query", "gate"):
            return "the query and its gate read the same input: neither can be made narrower alone"
        if name == _OUTPUT and part.activity_regularizer is not None:
            return "its activity is regularized"
        if name == _OUTPUT and len(part.kernel.shape) > 3:
            return "its output has several axes"
        return None

    def extra_params(self, layer, part, shapes: tuple[FactorShape, ...]) -> int:
        """The narrower output of the attention has a bias too, of zeros."""
        return shapes[0].shape[-1] if part is layer._output_dense and part.bias is not None else 0

    def rebuild(self, layer, chains: Mapping[int, Chain], taken: Collection[str] = ()) -> Rebuilt:
        """Returns the attention and the Dense layers around it; see `CompositeAdapter.rebuild`."""
        projections = _projections(layer)
        found = {name: chains[id(projection)] for name, projection in projections.items() if id(projection) in chains}
        stock, narrowing = [], {}
        for name in _INPUTS:
            if name in found:
                made = self._dense_layers(projections[name], found[name][:-1], f"{layer.name}_{name}", taken)
                narrowing[name] = [each.layer for each in made]
                stock += made
        after = []
        config, name = layer.get_config(), layer.name
        if _OUTPUT in found:
            (name,) = factor_names(name, 2, taken)[:1]
            after = self._dense_layers(projections[_OUTPUT], found[_OUTPUT][1:], layer.name, taken, last=True)
        # By default the output is as wide as the query, which may be narrower now.
        sizes = [found[_OUTPUT][0].kernel.shape[-1]] if _OUTPUT in found else projections[_OUTPUT].kernel.shape[2:]
        config = self._with_output(config, sizes)
        attention = copy_operation(layer, {**config, "name": name})
        stock += [StockLayer(attention, self._weights(layer, projections, found)), *after]

        def call(args: tuple, kwargs: dict):
            given = dict(zip(("query", "value", "key"), args, strict=False)) | kwargs
            rest = args[3:]
            given["key"] = given["value"] if given.get("key") is None else given["key"]
            for name, made in narrowing.items():
                for dense in made:
                    given[name] = dense(given[name])
            inputs = [given.pop(name) for name in ("query", "value", "key")]
            outputs = attention(*inputs, *rest, **given)
            many = isinstance(outputs, (list, tuple))
            first, *others = outputs if many else (outputs,)
            for dense, _ in after:
                first = dense(first)
            return (first, *others) if many else first

        return Rebuilt(call, stock)

    def _with_output(self, config: dict, sizes) -> dict:
        return {**config, "output_shape": list(sizes)}

    def _dense_layers(self, projection, factors: Chain, name: str, taken, *, last: bool = False) -> list[StockLayer]:
        """Returns the Dense layers of some factors; the last one of an output takes its name and its bias."""
        names = factor_names(name, len(factors) + 1, taken)
        names = [*names[1 : len(factors)], name] if last else names[:-1]
        made = []
        for index, (each, factor) in enumerate(zip(names, factors, strict=True)):
            has_bias = last and index == len(factors) - 1 and projection.bias is not None
            options = kernel_options(projection) | {"use_bias": has_bias}
            if has_bias:
                options |= {
                    key: getattr(projection, key) for key in ("bias_initializer", "bias_regularizer", "bias_constraint")
                }
            bias = [ops.convert_to_numpy(projection.bias)] if has_bias else []
            made.append(StockLayer(layers.Dense(factor.kernel.shape[-1], name=each, **options), [factor.kernel[0, 0], *bias]))
        return made

    def _weights(self, layer, projections: Mapping, found: Mapping[str, Chain]) -> list[np.ndarray]:
        """Returns the weights of the attention with other kernels where there is a chain."""
        replaced = {}
        for name, chain in found.items():
            projection = projections[name]
            shape = projection.kernel.shape
            if name == _OUTPUT:
                kernel = chain[0].kernel[0, 0]
                replaced[id(projection.kernel)] = kernel.reshape(*shape[:-1], kernel.shape[-1])
                if projection.bias is not None:
                    replaced[id(projection.bias)] = np.zeros(kernel.shape[-1])
            else:
                kernel = chain[-1].kernel[0, 0]
                replaced[id(projection.kernel)] = kernel.reshape(kernel.shape[0], *shape[1:])
        return [replaced[id(each)] if id(each) in replaced else ops.convert_to_numpy(each) for each in layer.weights]


class GroupedQueryAttentionAdapter(MultiHeadAttentionAdapter):
    """GroupedQueryAttention: Keras wants query and value of one width, which is the output's too, so these have one rank."""

    def linked(self, layer) -> tuple:
        """Returns the projections of the query, the value and the output."""
        return layer._query_dense, layer._value_dense, layer._output_dense

    def _with_output(self, config: dict, sizes) -> dict:
        return config

    def why_part_unsupported(self, layer, part) -> str | None:
        """With a gate, which reads the query, or a value of lower full rank, these three cannot be made narrower."""
        if part is layer._output_dense and "gate" in _projections(layer):
            return "the output is as wide as the query, which its gate reads too"
        query, value = (min(each.kernel.shape[0], math.prod(each.kernel.shape[1:])) for each in self.linked(layer)[:2])
        if value < query and any(part is each for each in self.linked(layer)):
            return f"query, value and output must be of one width, and at its full rank, {value}, the value is narrower"
        return super().why_part_unsupported(layer, part)
