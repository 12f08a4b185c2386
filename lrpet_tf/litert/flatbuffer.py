"""The structure of `.tflite` files: read with checks, and written again."""

import os
import pathlib

import numpy as np

from lrpet_tf.errors import TfliteFileError, require

_IDENTIFIER = b"TFL3"


def _schema():
    return require("ai_edge_litert.schema_py_generated", "ai-edge-litert")


def unpack(content: bytes, name: str = "the content"):
    """Returns the structure of a file as an object of LiteRT's schema.

    The whole structure is read, each reference within bounds: LiteRT's interpreter may crash on what is refused here.

    Args:
        content: The file.
        name: What it is called in an error.

    Returns:
        A `ModelT`; the weights in it are views of `content`.

    Raises:
        TfliteFileError: It is no LiteRT model, or not all of one.
    """
    if not content:
        raise TfliteFileError(name, "it is empty")
    if content[4:8] != _IDENTIFIER:
        raise TfliteFileError(name, f"it does not begin as one does; its first bytes are {bytes(content[:8])!r}")
    try:
        model = _schema().ModelT.InitFromPackedBuf(content, 0)
        _take_in(model, content)
        _check(model)
    except Exception as error:  # whatever offsets that point nowhere may cause
        why = f"it is cut off or damaged after {len(content)} bytes ({type(error).__name__}: {error})"
        raise TfliteFileError(name, why) from error
    return model


def pack(model) -> bytes:
    """Returns the content of a file, given its structure."""
    utils = require("ai_edge_litert.tools.flatbuffer_utils", "ai-edge-litert")
    return bytes(utils.convert_object_to_bytearray(model))


def _take_in(model, content: bytes) -> None:
    """Takes values that stand behind the flatbuffer, as those of large files do, into it."""
    for buffer in model.buffers:
        if buffer.offset > 1:  # 0 and 1 mean that there are none
            data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.data, buffer.offset, buffer.size = data, 0, 0


def _check(model) -> None:
    """Checks that what refers to one another is there."""
    if not model.subgraphs:
        raise ValueError("no graph")
    for graph in model.subgraphs:
        if any(not 0 <= tensor.buffer < len(model.buffers) for tensor in graph.tensors):
            raise ValueError("a tensor without a buffer")
        for operator in graph.operators:
            if not 0 <= operator.opcodeIndex < len(model.operatorCodes):
                raise ValueError("an operator without a code")
            if any(not -1 <= index < len(graph.tensors) for index in (*operator.inputs, *operator.outputs)):
                raise ValueError("an operator without a tensor")
        if any(not 0 <= index < len(graph.tensors) for index in (*graph.inputs, *graph.outputs)):
            raise ValueError("an input or output without a tensor")


def is_constant(model, tensor) -> bool:
    """Returns whether a tensor has its values in the file."""
    return model.buffers[tensor.buffer].data is not None


def operator_name(model, operator) -> str:
    """Returns the name of an operator: a builtin's, such as `CONV_2D`, or a custom one's own, such as `FlexErfinv`."""
    code = model.operatorCodes[operator.opcodeIndex]
    if code.customCode is not None:
        return code.customCode.decode()
    return _builtin_names().get(max(code.builtinCode, code.deprecatedBuiltinCode), f"builtin {code.builtinCode}")


def is_builtin(model, operator) -> bool:
    """Returns whether every LiteRT runtime has an operator."""
    return model.operatorCodes[operator.opcodeIndex].customCode is None


def _builtin_names() -> dict[int, str]:
    return {value: name for name, value in vars(_schema().BuiltinOperator).items() if isinstance(value, int)}


def text(name) -> str:
    """Returns a name of the structure as text."""
    return name.decode(errors="replace") if isinstance(name, bytes) else name or ""


def signature(model) -> tuple[dict[str, int], dict[str, int]]:
    """Returns the indices of the tensors that go in and come out, by their names in the first signature or else their own."""
    if model.signatureDefs:
        first = model.signatureDefs[0]
        return tuple({text(each.name): each.tensorIndex for each in side} for side in (first.inputs, first.outputs))
    graph = model.subgraphs[0]
    return tuple({text(graph.tensors[index].name): int(index) for index in side} for side in (graph.inputs, graph.outputs))


def read_content(path: str | os.PathLike) -> bytes:
    """Returns the content of a file.

    Raises:
        TfliteFileError: There is no such file, or it cannot be read.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise TfliteFileError(path, "it is a folder" if path.is_dir() else "there is no such file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise TfliteFileError(path, f"it cannot be read ({error.strerror})") from error
