"""The decompositions: one file each, one row each."""

from lrpet_tf.decompositions.base import Decomposition
from lrpet_tf.decompositions.channel import ChannelDecomposition
from lrpet_tf.decompositions.input_channel import InputChannelDecomposition
from lrpet_tf.decompositions.spatial import SpatialDecomposition
from lrpet_tf.decompositions.tucker2 import Tucker2Decomposition
from lrpet_tf.linalg import KernelShape

DECOMPOSITIONS: dict[str, Decomposition] = {
    form.name: form
    for form in (ChannelDecomposition(), InputChannelDecomposition(), SpatialDecomposition(), Tucker2Decomposition())
}


def get(name: str) -> Decomposition:
    """Returns the decomposition of a name.

    Raises:
        ValueError: The name is unknown.
    """
    if name not in DECOMPOSITIONS:
        raise ValueError(f"`decomposition` must be 'auto' or one of {sorted(DECOMPOSITIONS)}. Received: decomposition={name!r}")
    return DECOMPOSITIONS[name]


def choices(name: str, shape: KernelShape | None = None) -> tuple[Decomposition, ...]:
    """Returns the decompositions that a layer may take: for `"auto"` all that differ, else the one of that name.

    Args:
        name: A name, or `"auto"`.
        shape: Shape of the kernel, where it is known: forms that coincide for it are then given once.

    Raises:
        ValueError: The name is unknown.
    """
    if name != "auto":
        return (get(name),)
    return tuple(form for form in DECOMPOSITIONS.values() if shape is None or form.is_distinct(shape))


__all__ = [
    "DECOMPOSITIONS",
    "ChannelDecomposition",
    "Decomposition",
    "InputChannelDecomposition",
    "SpatialDecomposition",
    "Tucker2Decomposition",
    "choices",
    "get",
]
