"""Low-rank training and edge export for Keras."""

from lrpet_tf import adapters, interop, layers, linalg, ranks
from lrpet_tf.analysis import plot_budget, plot_spectra
from lrpet_tf.costs import LatencyTable, count_macs, count_params, measure_latency
from lrpet_tf.errors import LowRankError
from lrpet_tf.export import ExportReport, FileInfo, export_tflite
from lrpet_tf.factorization import factorize
from lrpet_tf.litert import FileMetadata, read_metadata
from lrpet_tf.plan import LayerPlan, Plan, SkippedLayer
from lrpet_tf.planning import make_plan
from lrpet_tf.ranks import Energy, LatencyBudget, MacsBudget, ParamsBudget, Share, SizeBudget
from lrpet_tf.search import RankTrial, SearchResult, search_ranks
from lrpet_tf.training import LRPETCallback, ProjectingOptimizer, Projector, RankSchedule, recalibrate_batch_norms
from lrpet_tf.version import __version__

__all__ = [
    "Energy",
    "ExportReport",
    "FileInfo",
    "FileMetadata",
    "LRPETCallback",
    "LatencyBudget",
    "LatencyTable",
    "LayerPlan",
    "LowRankError",
    "MacsBudget",
    "ParamsBudget",
    "Plan",
    "ProjectingOptimizer",
    "Projector",
    "RankSchedule",
    "RankTrial",
    "SearchResult",
    "Share",
    "SizeBudget",
    "SkippedLayer",
    "__version__",
    "adapters",
    "count_macs",
    "count_params",
    "export_tflite",
    "factorize",
    "interop",
    "layers",
    "linalg",
    "make_plan",
    "measure_latency",
    "plot_budget",
    "plot_spectra",
    "ranks",
    "read_metadata",
    "recalibrate_batch_norms",
    "search_ranks",
]
