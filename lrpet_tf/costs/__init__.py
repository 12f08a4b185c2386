"""What a layer and a model cost: multiply-accumulates, weights, and measured latency."""

from lrpet_tf.costs.cost import Cost, chain_cost, layer_cost
from lrpet_tf.costs.counting import count_macs, count_params
from lrpet_tf.costs.latency import LatencyTable
from lrpet_tf.costs.measuring import device_name, measure_latency
from lrpet_tf.costs.micro import MicroModel, calls_by_path, layer_key, micro_models, model_key
from lrpet_tf.costs.size import BYTES_PER_WEIGHT, chain_structure, file_bytes

__all__ = [
    "BYTES_PER_WEIGHT",
    "Cost",
    "LatencyTable",
    "MicroModel",
    "calls_by_path",
    "chain_cost",
    "chain_structure",
    "count_macs",
    "count_params",
    "device_name",
    "file_bytes",
    "layer_cost",
    "layer_key",
    "measure_latency",
    "micro_models",
    "model_key",
]
