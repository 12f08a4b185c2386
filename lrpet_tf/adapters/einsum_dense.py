"""EinsumDense, and with it the projections inside attention layers.

The letters of the kernel are of three kinds: those summed over, those that are new in the output, and those that the input, the
kernel and the output share, along which the kernel is a block for each index. So the kernel is a grouped matrix.
"""

import math
import string
from collections.abc import Collection
from typing import NamedTuple

from keras import layers, ops

from lrpet_tf.adapters.base import KernelAdapter, Shape, StockLayer, product
from lrpet_tf.layers.stock import einsum_chain
from lrpet_tf.linalg import Chain, KernelShape


class Equation(NamedTuple):
    """The parts of an equation: the letters of input, kernel and output without the ellipsis, and the kinds of the kernel's."""

    inputs: str
    kernel: str
    outputs: str
    shared: str
    summed: str
    new: str


def parse(equation: str) -> Equation:
    """Returns the parts of an einsum equation of two operands."""
    operands, outputs = equation.replace(" ", "").replace("...", "").split("->")
    inputs, kernel = operands.split(",")
    shared = "".join(letter for letter in kernel if letter in inputs and letter in outputs)
    summed = "".join(letter for letter in kernel if letter in inputs and letter not in outputs)
    new = "".join(letter for letter in kernel if letter not in inputs and letter in outputs)
    return Equation(inputs, kernel, outputs, shared, summed, new)


class EinsumDenseAdapter(KernelAdapter):
    """EinsumDense whose kernel is a matrix, or one matrix for each index that input and output share."""

    def kernel(self, layer: layers.EinsumDense):
        """Returns the kernel, its axes in the order of the equation."""
        return layer.kernel

    def _sizes_of(self, layer, letters: str) -> list[int]:
        kernel = parse(layer.equation).kernel
        return [layer.kernel.shape[kernel.index(letter)] for letter in letters]

    def groups(self, layer) -> int:
        """Returns the number of matrices."""
        return math.prod(self._sizes_of(layer, parse(layer.equation).shared))

    def hwio_shape(self, layer) -> KernelShape:
        """Returns `(1, 1, summed, matrices · new)`."""
        parts = parse(layer.equation)
        return 1, 1, math.prod(self._sizes_of(layer, parts.summed)), math.prod(self._sizes_of(layer, parts.shared + parts.new))

    def to_hwio(self, layer, kernel):
        """Returns a kernel as `(1, 1, summed, matrices · new)`."""
        parts = parse(layer.equation)
        order = [parts.kernel.index(letter) for letter in parts.summed + parts.shared + parts.new]
        return ops.reshape(ops.transpose(kernel, order), self.hwio_shape(layer))

    def from_hwio(self, layer, kernel):
        """Returns a kernel with its axes in the order of the equation."""
        parts = parse(layer.equation)
        order = parts.summed + parts.shared + parts.new
        kernel = ops.reshape(kernel, self._sizes_of(layer, order))
        return ops.transpose(kernel, [order.index(letter) for letter in parts.kernel])

    def sizes(self, layer, input_shape: Shape, output_shape: Shape) -> tuple[Shape, Shape]:
        """Returns the number of positions that each matrix works at."""
        parts = parse(layer.equation)
        letters = self._letters(layer, parts.inputs, len(input_shape))
        free = [size for size, letter in zip(input_shape[1:], letters[1:], strict=True) if letter not in parts.kernel]
        positions = (product(tuple(free)), 1)
        return positions, positions

    def _letters(self, layer, named: str, count: int) -> str:
        """Returns the letters of all axes of a tensor; those of the ellipsis are digits."""
        elided = string.digits[: count - len(named)]
        return elided + named if layer.equation.strip().startswith("...") else named + elided

    def output_shape(self, layer, input_shape: Shape, output_shape: Shape) -> Shape:
        """Returns the shape of an output: an axis that input and output share is as long in both."""
        parts = parse(layer.equation)
        known = dict(zip(self._letters(layer, parts.inputs, len(input_shape)), input_shape, strict=True))
        letters = self._letters(layer, parts.outputs, len(output_shape))
        return tuple(known.get(letter) if size is None else size for letter, size in zip(letters, output_shape, strict=True))

    def channel_axis(self, layer) -> int | None:
        """Returns -1 where the output channels are the last axis and no other."""
        parts = parse(layer.equation)
        is_last = len(parts.new) == 1 and not parts.shared and layer.equation.strip().endswith(parts.new)
        return -1 if is_last else None

    def why_unsupported(self, layer) -> str | None:
        """Equations whose kernel is no matrix are left as they are, beside the reasons of every kernel."""
        parts = parse(layer.equation)
        letters = parts.shared + parts.summed + parts.new
        repeats = any(len(set(word)) < len(word) for word in parts[:3])
        batch = parts.inputs[:1] if not layer.equation.strip().startswith("...") else ""
        if (
            not (parts.summed and parts.new)
            or sorted(letters) != sorted(parts.kernel)
            or repeats
            or (batch in parts.kernel and batch)
        ):
            return f"the kernel of its equation, {layer.equation}, is no matrix"
        if len({*parts.inputs, *parts.outputs, *parts.kernel}) >= len(string.ascii_letters):
            return f"its equation, {layer.equation}, has no letter to spare"
        return super().why_unsupported(layer)

    def stock_chain(self, layer: layers.EinsumDense, chain: Chain, taken: Collection[str] = ()) -> list[StockLayer]:
        """Returns EinsumDense layers; see `KernelAdapter.stock_chain`."""
        if len(chain) == 1:
            stock = einsum_chain(layer, [(layer.equation, layer.partial_output_shape)], taken)
            kernels = [ops.convert_to_numpy(self.from_hwio(layer, chain[0].kernel))]
        else:
            stock, kernels = self._pair(layer, chain, taken)
        weights = [[kernel] for kernel in kernels]
        if layer.bias is not None:
            weights[-1].append(ops.convert_to_numpy(layer.bias))
        return [StockLayer(*pair) for pair in zip(stock, weights, strict=True)]

    def _pair(self, layer, chain: Chain, taken: Collection[str]):
        parts = parse(layer.equation)
        left, right = layer.equation.split(",")[0].strip(), layer.equation.split("->")[1].strip()
        before, after = ("..." if left.startswith("...") else ""), ("..." if left.endswith("...") else "")
        unused = (letter for letter in string.ascii_letters if letter not in layer.equation)
        bonds = [next(unused) for _ in chain[1:]]
        kept = "".join(letter for letter in parts.inputs if letter not in parts.summed)
        shared = self._sizes_of(layer, parts.shared)
        given = zip(parts.outputs if before else parts.outputs[1:], layer.partial_output_shape, strict=True)
        known = dict(given) | dict(zip(parts.shared, shared, strict=True))
        groups = math.prod(shared)
        specs, kernels = [], []
        source, summed = left, parts.summed
        for index, factor in enumerate(chain):
            last = index == len(chain) - 1
            new = parts.new if last else bonds[index]
            target = right if last else f"{before}{kept}{bonds[index]}{after}"
            inputs = self._sizes_of(layer, summed) if index == 0 else [factor.kernel.shape[-2]]
            outputs = self._sizes_of(layer, new) if last else [factor.kernel.shape[-1] // groups]
            known[new] = outputs[0]
            named = target.replace("...", "")
            sizes = layer.partial_output_shape if last else [known.get(letter) for letter in (named if before else named[1:])]
            specs.append((f"{source},{parts.shared}{summed}{new}->{target}", sizes))
            # (1, 1, summed, shared · new) to the order shared, summed, new
            matrix = factor.kernel.reshape(math.prod(inputs), groups, math.prod(outputs)).swapaxes(0, 1)
            kernels.append(matrix.reshape(*shared, *inputs, *outputs))
            source, summed = target, new
        return einsum_chain(layer, specs, taken), kernels
