"""When to act: the callback, the projector for loops of one's own, and the recalibration of batch norms."""

from lrpet_tf.training.callback import LRPETCallback
from lrpet_tf.training.optimizer import ProjectingOptimizer
from lrpet_tf.training.projector import Projector
from lrpet_tf.training.recalibration import recalibrate_batch_norms
from lrpet_tf.training.schedule import RankSchedule

__all__ = ["LRPETCallback", "ProjectingOptimizer", "Projector", "RankSchedule", "recalibrate_batch_norms"]
