"""The only reader and rewriter of model graphs."""

from lrpet_tf.graph.following import BatchNormFinder, Following
from lrpet_tf.graph.precision import in_float32
from lrpet_tf.graph.reading import Call, Graph, read_graph
from lrpet_tf.graph.replay import check_supported, input_layer
from lrpet_tf.graph.rewriting import rewrite

__all__ = [
    "BatchNormFinder",
    "Call",
    "Following",
    "Graph",
    "check_supported",
    "in_float32",
    "input_layer",
    "read_graph",
    "rewrite",
]
