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
        raise ValueError(f"`decomposition` must be 'auto' or one of {sorted(DECOMPOSITIONS)}. Received: decomposition={name!r}")
    return DECOMPOSITIONS[name]


def choices(name: str) -> tuple[Decomposition, ...]:
    """Returns the decompositions that a layer may take: all of them for `"auto"`, else the one of that name.

    Raises:
        ValueError: The name is unknown.
    """
    return tuple(DECOMPOSITIONS.values()) if name == "auto" else (get(name),)


__all__ = ["DECOMPOSITIONS", "ChannelDecomposition", "Decomposition", "choices", "get"]
