"""The memory that LiteRT needs for the tensors of a file."""

from lrpet_tf.litert.conversion import Converted
from lrpet_tf.litert.flatbuffer import is_constant, unpack
from lrpet_tf.litert.runtime import Session

# Tensors begin at multiples of this many bytes.
_ALIGNMENT = 64


def arena_bytes(converted: Converted) -> int | None:
    """Returns the size of the arena that LiteRT plans for the tensors between the operators, for one sample.

    LiteRT does not tell it. It is read off the addresses that its interpreter gives the tensors, with LiteRT's own kernels:
    those of XNNPACK keep a workspace of their own beside it, and so do the bodies of loops. Weights, which stay in the file,
    and the states of variables do not count.

    Args:
        converted: The file.

    Returns:
        Bytes; `None` where the sizes of all tensors are unknown before the file runs.
    """
    model = unpack(converted.content)
    tensors = model.subgraphs[0].tensors
    apart = {index for index, tensor in enumerate(tensors) if is_constant(model, tensor) or tensor.isVariable}
    interpreter = Session(converted, delegates=False).interpreter
    spans = []
    for detail in interpreter.get_tensor_details():  # scratch tensors of the kernels stand behind those of the file
        if detail["index"] in apart:
            continue
        try:
            values = interpreter.tensor(detail["index"])()
        except ValueError:  # it has no memory yet: its size is known once the file runs
            continue
        begin = values.__array_interface__["data"][0]
        spans.append((begin, begin + -(-values.nbytes // _ALIGNMENT) * _ALIGNMENT))
    return _covered(spans) if spans else None


def _covered(spans: list[tuple[int, int]]) -> int:
    """Returns how many addresses lie in at least one of several spans."""
    total, reached = 0, 0
    for begin, end in sorted(spans):
        total += max(0, end - max(begin, reached))
        reached = max(reached, end)
    return total
