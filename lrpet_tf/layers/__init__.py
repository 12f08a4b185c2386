"""Keras layers: with a dense kernel and a declared rank (`LRPET…`), and trained as factors (`LowRank…`)."""

from lrpet_tf.layers.chain import FactorChain
from lrpet_tf.layers.declared import LRPETConv2D, LRPETDense
from lrpet_tf.layers.low_rank import LowRankConv2D, LowRankDense

__all__ = ["FactorChain", "LRPETConv2D", "LRPETDense", "LowRankConv2D", "LowRankDense"]
