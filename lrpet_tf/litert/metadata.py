"""What a `.tflite` file tells about itself: the standard TFLite metadata, and where it comes from.

The standard part is a flatbuffer of its own (`metadata_schema.fbs` of TFLite Support, identifier `M001`) under the name
`TFLITE_METADATA`; labels are text files in a ZIP archive behind the model. Provenance is JSON under the name
`LRPET_PROVENANCE`. Runtimes read past all of it.
"""

import dataclasses
import io
import json
import os
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from lrpet_tf.errors import TfliteFileError, require
from lrpet_tf.litert.flatbuffer import pack, read_content, text, unpack
from lrpet_tf.litert.tables import Table, TableWriter

_STANDARD, _PROVENANCE, _IDENTIFIER = "TFLITE_METADATA", "LRPET_PROVENANCE", b"M001"
_NORMALIZATION, _AXIS_LABELS = 1, 2  # members of a union and of an enumeration in the schema


@dataclasses.dataclass(frozen=True)
class TensorInfo:
    """What a file tells about one of its inputs or outputs.

    Attributes:
        name: Its name.
        mean: What is subtracted from the values before they go in, one number or one a channel; empty where nothing is.
        std: What they are divided by then; empty where by nothing.
        labels: Names of the entries of the last axis, or empty.
    """

    name: str
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class FileMetadata:
    """What a `.tflite` file tells about itself; `read_metadata` reads it from a file.

    Attributes:
        name: Name of the model.
        description: What it does, in words.
        version: Version of the model.
        author: Who made it.
        license: How it may be used.
        inputs: Its inputs, with the normalisation that is expected of the caller.
        outputs: Its outputs, with their labels.
        provenance: Where it comes from, as plain values: versions, quantization, plan, multiply-accumulates. Empty for a file
            that this library has not made.
    """

    name: str = ""
    description: str = ""
    version: str = ""
    author: str = ""
    license: str = ""
    inputs: tuple[TensorInfo, ...] = ()
    outputs: tuple[TensorInfo, ...] = ()
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def with_metadata(content: bytes, metadata: FileMetadata) -> bytes:
    """Returns a file that tells what `metadata` says, instead of what it told before.

    Args:
        content: The file.
        metadata: What it is to tell.
    """
    schema = require("ai_edge_litert.schema_py_generated", "ai-edge-litert")
    model = unpack(content)
    entries = {_STANDARD: _standard(metadata), _PROVENANCE: json.dumps(metadata.provenance, separators=(",", ":")).encode()}
    model.metadata = list(model.metadata or ())
    for name, data in entries.items():
        entry = next((each for each in model.metadata if text(each.name) == name), None)
        if entry is None:
            entry = schema.MetadataT()
            entry.name, entry.buffer = name, len(model.buffers)
            model.buffers.append(schema.BufferT())
            model.metadata.append(entry)
        model.buffers[entry.buffer].data = np.frombuffer(data, np.uint8)
    return _with_files(pack(model), {_labels_file(each): each.labels for each in metadata.outputs if each.labels})


def _labels_file(output: TensorInfo) -> str:
    return f"labels_{output.name}.txt"


def _with_files(content: bytes, labels: Mapping[str, tuple[str, ...]]) -> bytes:
    if not labels:
        return content
    stream = io.BytesIO(content)
    with zipfile.ZipFile(stream, "a") as archive:
        for name, lines in labels.items():
            archive.writestr(zipfile.ZipInfo(name), "\n".join(lines))  # of a fixed date: equal models make equal files
    return stream.getvalue()


def _standard(metadata: FileMetadata) -> bytes:
    writer = TableWriter()
    inputs = [writer.table({0: each.name, 4: _process_units(writer, each)}) for each in metadata.inputs]
    outputs = [writer.table({0: each.name, 6: _label_files(writer, each)}) for each in metadata.outputs]
    graph = writer.table({0: metadata.name, 2: writer.vector(inputs), 3: writer.vector(outputs)})
    root = writer.table(
        {
            0: metadata.name,
            1: metadata.description,
            2: metadata.version,
            3: writer.vector([graph]),
            4: metadata.author,
            5: metadata.license,
            7: "1.0.0",  # the least version of a parser that knows all of these fields
        }
    )
    return writer.finish(root, _IDENTIFIER)


def _process_units(writer: TableWriter, tensor: TensorInfo):
    if not tensor.std:
        return None
    options = writer.table({0: writer.floats(tensor.mean), 1: writer.floats(tensor.std)})
    return writer.vector([writer.table({0: writer.byte(_NORMALIZATION), 1: options})])


def _label_files(writer: TableWriter, tensor: TensorInfo):
    if not tensor.labels:
        return None
    return writer.vector([writer.table({0: _labels_file(tensor), 2: writer.byte(_AXIS_LABELS)})])


def read_metadata(path: str | os.PathLike) -> FileMetadata:
    """Reads what a `.tflite` file tells about itself.

    Args:
        path: The file, of this library or any other.

    Returns:
        The metadata; empty where the file tells nothing.

    Raises:
        TfliteFileError: There is no such file, it is no LiteRT model or not all of one, or its metadata or labels are damaged.
    """
    content = read_content(path)
    return metadata_of(content, str(path))


def metadata_of(content: bytes, name: str = "the content") -> FileMetadata:
    """Returns what the content of a file tells; see `read_metadata`.

    Args:
        content: The file.
        name: What it is called in an error.

    Raises:
        TfliteFileError: See `read_metadata`.
    """
    model = unpack(content, name)
    entries = {text(each.name): model.buffers[each.buffer].data for each in model.metadata or ()}
    try:
        provenance = json.loads(bytes(entries[_PROVENANCE])) if entries.get(_PROVENANCE) is not None else {}
        found = FileMetadata(provenance=provenance)
        if entries.get(_STANDARD) is None:
            return found
        return _read_standard(bytes(entries[_STANDARD]), content, found)
    except Exception as error:  # whatever offsets that point nowhere, or half an archive, may cause
        raise TfliteFileError(name, f"its metadata or labels are damaged ({type(error).__name__}: {error})") from error


def _read_standard(data: bytes, content: bytes, found: FileMetadata) -> FileMetadata:
    root = Table.root(data)
    graph = next(iter(root.tables(3)), None)
    return dataclasses.replace(
        found,
        **{
            name: root.text(slot)
            for name, slot in (("name", 0), ("description", 1), ("version", 2), ("author", 4), ("license", 5))
        },
        inputs=tuple(map(_read_input, graph.tables(2))) if graph else (),
        outputs=tuple(_read_output(each, content) for each in graph.tables(3)) if graph else (),
    )


def _read_input(tensor: Table) -> TensorInfo:
    for unit in tensor.tables(4):
        if unit.byte(0) == _NORMALIZATION:
            options = unit.table(1)
            return TensorInfo(tensor.text(0), options.floats(0), options.floats(1))
    return TensorInfo(tensor.text(0))


def _read_output(tensor: Table, content: bytes) -> TensorInfo:
    files = [file.text(0) for file in tensor.tables(6) if file.byte(2) == _AXIS_LABELS]
    if not files:
        return TensorInfo(tensor.text(0))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        labels = archive.read(files[0]).decode().split("\n")
    return TensorInfo(tensor.text(0), labels=tuple(labels))
