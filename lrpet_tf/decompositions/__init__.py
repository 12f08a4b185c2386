"""The decompositions: one file each, one row each."""

from lrpet_tf.decompositions.base import Decomposition
from lrpet_tf.decompositions.channel import ChannelDecomposition

DECOMPOSITIONS: dict[str, Decomposition] = {"channel": ChannelDecomposition()}


def get(name: str) -> Decomposition:
    """Returns the decomposition of a name.

    Raises:
        ValueError: The name is unknown.
    """
    if name not in DECOMPOSITIONS:
        raise ValueError(f"`decomposition` must be one of {sorted(DECOMPOSITIONS)}. Received: decomposition={name!r}")
    return DECOMPOSITIONS[name]


__all__ = ["DECOMPOSITIONS", "ChannelDecomposition", "Decomposition", "get"]
