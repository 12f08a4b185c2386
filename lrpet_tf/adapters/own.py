"""This library's layers: they always become stock Keras layers when a model is factorized."""

from keras import ops

from lrpet_tf.adapters.base import Shape
from lrpet_tf.adapters.conv import ConvAdapter
from lrpet_tf.adapters.dense import DenseAdapter
from lrpet_tf.linalg import Chain, Factor, shapes_of, whole


class _DeclaredRank:
    """A dense kernel with a declared rank: one stock layer where it is not factorized."""

    def declared_rank(self, layer) -> float | int:
        """Returns the rank that the layer was built with."""
        return layer.declared_rank

    def own_chain(self, layer) -> Chain:
        """Returns the dense kernel as a chain of one."""
        return (Factor(ops.convert_to_numpy(self.read(layer)), whole(self.hwio_shape(layer))[0].spatial_axes),)


class _LowRank:
    """A chain of factors: of low rank by construction, so there is nothing to project."""

    def why_unsupported(self, layer) -> str:
        """It is a chain of factors already."""
        return "a chain of factors already: factorize writes it as stock layers"

    def own_chain(self, layer) -> Chain:
        """Returns the factors."""
        return layer.chain()

    def macs(self, layer, input_shape: Shape, output_shape: Shape) -> int | None:
        """Returns those of the factors."""
        return self.chain_macs(layer, shapes_of(layer.chain()), input_shape, output_shape)


class LRPETConv2DAdapter(_DeclaredRank, ConvAdapter):
    """LRPETConv2D."""


class LRPETDenseAdapter(_DeclaredRank, DenseAdapter):
    """LRPETDense."""


class LowRankConv2DAdapter(_LowRank, ConvAdapter):
    """LowRankConv2D."""


class LowRankDenseAdapter(_LowRank, DenseAdapter):
    """LowRankDense."""
