"""What a layer and a model cost."""

from lrpet_tf.costs.cost import Cost, chain_cost, layer_cost
from lrpet_tf.costs.counting import count_macs, count_params

__all__ = ["Cost", "chain_cost", "count_macs", "count_params", "layer_cost"]
