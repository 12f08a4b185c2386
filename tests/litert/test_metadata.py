"""Metadata in the standard form, read by a reader of its own and by plain flatbuffers."""

import io
import zipfile

import flatbuffers
import keras
import numpy as np
import pytest
from keras import layers

from lrpet_tf import litert

pytestmark = pytest.mark.tensorflow

TOLD = litert.FileMetadata(
    name="net",
    description="what it does",
    version="1.2",
    author="me",
    license="MIT",
    inputs=(litert.TensorInfo("image", (1.0, 2.5), (0.5,)), litert.TensorInfo("other")),
    outputs=(litert.TensorInfo("out", labels=("a", "ß", "")),),
    provenance={"plan": {"conv": ["channel", 3]}, "macs": 7},
)


@pytest.fixture(scope="module")
def content():
    return litert.convert(keras.Sequential([keras.Input((2,), name="image"), layers.Dense(3, name="out")])).content


def test_round_trip(content):
    told = litert.with_metadata(content, TOLD)
    assert litert.metadata_of(told) == TOLD
    assert litert.metadata_of(content) == litert.FileMetadata()
    other = litert.FileMetadata(name="another")
    assert litert.metadata_of(litert.with_metadata(told, other)) == other


def test_equal_models_make_equal_files(content):
    assert litert.with_metadata(content, TOLD) == litert.with_metadata(content, TOLD)


def test_the_model_computes_as_before(content):
    data = np.random.default_rng(0).standard_normal((4, 2)).astype("float32")
    plain = litert.Converted(content, ("image",), ("out",))
    told = plain._replace(content=litert.with_metadata(content, TOLD))
    np.testing.assert_array_equal(litert.run(plain, [data])[0], litert.run(told, [data])[0])


def test_the_standard_form(content):
    """Field numbers as in TFLite Support's metadata_schema.fbs, read with the flatbuffers package."""
    told = litert.with_metadata(content, TOLD)
    model = litert.unpack(told)
    (entry,) = [each for each in model.metadata if each.name == b"TFLITE_METADATA"]
    data = bytearray(bytes(model.buffers[entry.buffer].data))
    assert flatbuffers.util.BufferHasIdentifier(data, 0, b"M001")

    def table(position):
        return flatbuffers.table.Table(data, position)

    def offset(of, slot):
        return of.Offset(4 + 2 * slot)

    def items(of, slot):
        vector, count = of.Vector(offset(of, slot)), of.VectorLen(offset(of, slot))
        return [table(of.Indirect(vector + 4 * index)) for index in range(count)]

    def text(of, slot):
        return of.String(offset(of, slot) + of.Pos).decode()

    root = table(flatbuffers.encode.Get(flatbuffers.packer.uoffset, data, 0))
    assert [text(root, slot) for slot in (0, 1, 2, 4, 5)] == ["net", "what it does", "1.2", "me", "MIT"]
    (graph,) = items(root, 3)
    first, second = items(graph, 2)
    assert [text(first, 0), text(second, 0), offset(second, 4)] == ["image", "other", 0]
    (unit,) = items(first, 4)
    assert unit.Get(flatbuffers.number_types.Uint8Flags, offset(unit, 0) + unit.Pos) == 1  # NormalizationOptions
    options = table(unit.Indirect(offset(unit, 1) + unit.Pos))
    means = options.GetVectorAsNumpy(flatbuffers.number_types.Float32Flags, offset(options, 0))
    np.testing.assert_array_equal(means, [1.0, 2.5])
    (output,) = items(graph, 3)
    (file,) = items(output, 6)
    assert text(file, 0) == "labels_out.txt"
    assert file.Get(flatbuffers.number_types.Int8Flags, offset(file, 2) + file.Pos) == 2  # TENSOR_AXIS_LABELS
    with zipfile.ZipFile(io.BytesIO(told)) as archive:
        assert archive.read("labels_out.txt").decode() == "a\nß\n"
