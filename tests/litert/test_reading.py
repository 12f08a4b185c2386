"""What reads `.tflite` files refuses what is none, or not all of one, without asking the interpreter."""

import keras
import numpy as np
import pytest
from keras import layers

from lrpet_tf import errors, litert

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def converted():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,), name="facts")
    model = keras.Model(inputs, layers.Dense(4, name="out")(layers.Dense(32, activation="relu", name="hidden")(inputs)))
    found = litert.convert(model)
    outputs = litert.TensorInfo("out", labels=("a", "b", "c", "d"))
    told = litert.FileMetadata(name="net", inputs=(litert.TensorInfo("facts"),), outputs=(outputs,))
    return model, found._replace(content=litert.with_metadata(found.content, told))


def test_a_whole_file(converted, tmp_path):
    model, found = converted
    (tmp_path / "net.tflite").write_bytes(found.content)
    loaded = litert.load(tmp_path / "net.tflite")
    assert (loaded.content, loaded.inputs, loaded.outputs) == (found.content, ("facts",), ("out",))
    data = np.random.default_rng(0).standard_normal((3, 8)).astype("float32")
    np.testing.assert_allclose(litert.run(loaded, [data])[0], model.predict(data, verbose=0), atol=1e-5)
    assert set(litert.interleaved_latency({"net": loaded}, seconds=0.001, least_rounds=1)) == {"net"}


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_file_that_is_cut_off(converted, tmp_path, share):
    content = converted[1].content
    path = tmp_path / "cut.tflite"
    path.write_bytes(content[: int(share * len(content))])
    for read in (litert.load, litert.read_metadata):
        with pytest.raises(errors.TfliteFileError, match=r"whole .tflite file.*Received: '.*cut.tflite'"):
            read(path)


def test_a_file_whose_labels_are_cut_off(converted, tmp_path):
    (tmp_path / "cut.tflite").write_bytes(converted[1].content[:-15])
    litert.load(tmp_path / "cut.tflite")
    with pytest.raises(errors.TfliteFileError, match="its metadata or labels are damaged"):
        litert.read_metadata(tmp_path / "cut.tflite")


@pytest.mark.parametrize(
    "content", [b"PK\x03\x04" + bytes(400), b"\x89HDF\r\n\x1a\n" + bytes(400), b"hello", b"    TFL3" + bytes(64)]
)
def test_a_foreign_file(tmp_path, content):
    (tmp_path / "net.tflite").write_bytes(content)
    with pytest.raises(errors.TfliteFileError, match="Expected a LiteRT model"):
        litert.load(tmp_path / "net.tflite")


def test_weights_behind_the_flatbuffer(converted):
    """Large files hold their weights so; what is cut off there is missed by the interpreter's own checks of the structure."""
    from lrpet_tf.litert import flatbuffer

    model = litert.unpack(converted[1].content)
    large = max(model.buffers, key=lambda buffer: 0 if buffer.data is None else len(buffer.data))
    data = bytes(large.data)
    large.data, large.offset, large.size = None, 12345678, len(data)
    size = len(flatbuffer.pack(model))
    large.offset = size
    content = flatbuffer.pack(model) + data
    assert any(buffer.data is not None and bytes(buffer.data) == data for buffer in litert.unpack(content).buffers)
    with pytest.raises(errors.TfliteFileError, match="cut off"):
        litert.unpack(content[:-10])


def test_no_file(tmp_path):
    with pytest.raises(errors.TfliteFileError, match="there is no such file"):
        litert.load(tmp_path / "missing.tflite")
    with pytest.raises(errors.TfliteFileError, match="it is a folder"):
        litert.load(tmp_path)


def test_references_that_point_nowhere(converted):
    model = litert.unpack(converted[1].content)
    model.subgraphs[0].operators[0].inputs = np.array([999], np.int32)
    with pytest.raises(errors.TfliteFileError, match="an operator without a tensor"):
        litert.unpack(litert.pack(model))


def test_a_file_without_a_signature(converted, tmp_path):
    model, found = converted
    bare = litert.unpack(found.content)
    bare.signatureDefs = None
    (tmp_path / "bare.tflite").write_bytes(litert.pack(bare))
    loaded = litert.load(tmp_path / "bare.tflite")
    data = np.random.default_rng(0).standard_normal((3, 8)).astype("float32")
    np.testing.assert_allclose(litert.run(loaded, [data])[0], model.predict(data, verbose=0), atol=1e-5)
