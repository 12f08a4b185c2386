"""The training methods: one file each, pure update rules, their paper named."""

from lrpet_tf.methods.lrpet import LRPET

__all__ = ["LRPET"]
