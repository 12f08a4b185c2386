"""The only reader and rewriter of model graphs."""

from lrpet_tf.graph.compiling import carry_compilation
from lrpet_tf.graph.following import BatchNormFinder, Following
from lrpet_tf.graph.precision import in_float32
from lrpet_tf.graph.reading import Call, Graph, as_graph, read_graph
from lrpet_tf.graph.replay import has_graph, input_layer, is_graph
from lrpet_tf.graph.rewriting import Replacement, rewrite

__all__ = [
    "BatchNormFinder",
    "Call",
    "Following",
    "Graph",
    "Replacement",
    "as_graph",
    "carry_compilation",
    "has_graph",
    "in_float32",
    "input_layer",
    "is_graph",
    "read_graph",
    "rewrite",
]
