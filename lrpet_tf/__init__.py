"""Low-rank training and edge export for Keras."""

from lrpet_tf import layers, linalg, ranks
from lrpet_tf.costs import count_macs, count_params
from lrpet_tf.errors import LowRankError
from lrpet_tf.export import ExportReport, export_tflite
from lrpet_tf.factorization import factorize
from lrpet_tf.plan import LayerPlan, Plan, SkippedLayer
from lrpet_tf.planning import make_plan
from lrpet_tf.ranks import Energy, MacsBudget, ParamsBudget, Share
from lrpet_tf.training import LRPETCallback, Projector, RankSchedule, recalibrate_batch_norms
from lrpet_tf.version import __version__

__all__ = [
    "Energy",
    "ExportReport",
    "LRPETCallback",
    "LayerPlan",
    "LowRankError",
    "MacsBudget",
    "ParamsBudget",
    "Plan",
    "Projector",
    "RankSchedule",
    "Share",
    "SkippedLayer",
    "__version__",
    "count_macs",
    "count_params",
    "export_tflite",
    "factorize",
    "layers",
    "linalg",
    "make_plan",
    "ranks",
    "recalibrate_batch_norms",
]
