"""Ranges of a quantization-aware model from data, so that its training starts where the float model stands."""

import numpy as np


class _Observer:
    """Stands in the place of a quantizer during a run: notes the range of what comes in, and hands it on as it is.

    Args:
        quantizer: The quantizer.
        seen: By id of a variable that holds a lower end: the variables of a range, whether it only widens, and the ends by
            batch, over all calls.
        count: Holds the number of the batch.
    """

    def __init__(self, quantizer, seen: dict, count: list[int]):
        self._widens, self._seen, self._count = type(quantizer).__name__ == "AllValuesQuantizer", seen, count

    def __call__(self, inputs, training, weights, **options):
        values, (batch,) = inputs.numpy(), self._count
        _, _, ends = self._seen.setdefault(id(weights["min_var"]), (weights, self._widens, {}))
        low, high = ends.get(batch, (0.0, 0.0))  # zero belongs to every range
        ends[batch] = min(low, values.min()), max(high, values.max())
        return inputs


def _holders(layer):
    """Yields the places in a layer of tfmot where a quantizer of activations stands: what holds it, and under what key."""
    if getattr(layer, "quantizer", None) is not None:
        yield vars(layer), "quantizer"
    for activation in getattr(layer, "_quantize_activations", ()):
        yield vars(activation), "quantizer"
    if getattr(layer, "_output_quantizers", None):
        yield layer._output_quantizers, 0


def set_weight_ranges(model) -> None:
    """Gives the ranges of all weights the values that the first step of a training would give them.

    Args:
        model: What tfmot made of a model.
    """
    for layer in model.layers:
        for weight, quantizer, variables in getattr(layer, "_weight_vars", ()):
            quantizer(weight, True, weights=variables)


def calibrate(model, batches) -> None:
    """Gives the ranges of all activations the values that a long training on the same data would give them.

    The model is run without quantizing activations. A range that is the moving average of those of the batches becomes their
    mean; one that widens with every batch, that of the input, spans them all.

    Args:
        model: What tfmot made of a model, the ranges of its weights set.
        batches: Batches of inputs, at least one.
    """
    seen, count, places = {}, [0], [place for layer in model.layers for place in _holders(layer)]
    quantizers = [holder[key] for holder, key in places]
    try:
        for (holder, key), quantizer in zip(places, quantizers, strict=True):
            holder[key] = _Observer(quantizer, seen, count)
        for batch in batches:
            model(batch, training=False)
            count[0] += 1
    finally:
        for (holder, key), quantizer in zip(places, quantizers, strict=True):
            holder[key] = quantizer
    for variables, widens, ends in seen.values():
        lows, highs = np.array(list(ends.values())).T
        low, high = (lows.min(), highs.max()) if widens else (lows.mean(), highs.mean())
        variables["min_var"].assign(low)
        variables["max_var"].assign(high)
