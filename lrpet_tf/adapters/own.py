"""This library's layers: they always become stock Keras layers when a model is factorized."""

from keras import ops

from lrpet_tf.adapters.base import Shape, product
from lrpet_tf.adapters.conv2d import Conv2DAdapter
from lrpet_tf.adapters.dense import DenseAdapter
from lrpet_tf.linalg import Chain, Factor


class _DeclaredRank:
    """A dense kernel with a declared rank: one stock layer where it is not factorized."""

    def declared_rank(self, layer) -> float | int:
        """Returns the rank that the layer was built with."""
        return layer.declared_rank

    def own_chain(self, layer) -> Chain:
        """Returns the dense kernel as a chain of one."""
        return (Factor(self.to_hwio(ops.convert_to_numpy(layer.kernel)), (0, 1)),)


class _FactorChain:
    """A chain of factors: of low rank by construction, so there is nothing to project."""

    def why_unsupported(self, layer) -> str:
        """It is a chain of factors already."""
        return "a chain of factors already: factorize writes it as stock layers"

    def own_chain(self, layer) -> Chain:
        """Returns the factors."""
        return layer.chain()

    def macs(self, layer, input_shape: Shape, output_shape: Shape) -> int | None:
        """Returns the sum over the factors, all of which work at the output positions."""
        positions = product(self.spatial_sizes(layer, output_shape))
        return None if positions is None else positions * sum(factor.kernel.size for factor in layer.chain())


class LRPETConv2DAdapter(_DeclaredRank, Conv2DAdapter):
    """LRPETConv2D."""


class LRPETDenseAdapter(_DeclaredRank, DenseAdapter):
    """LRPETDense."""


class LowRankConv2DAdapter(_FactorChain, Conv2DAdapter):
    """LowRankConv2D."""


class LowRankDenseAdapter(_FactorChain, DenseAdapter):
    """LowRankDense."""
