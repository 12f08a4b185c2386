"""Attention-heavy nets, from training to the exported file."""

import warnings

import keras
import numpy as np
import pytest

import lrpet_tf as lrpet
from tests.architectures import ARCHITECTURES
from tests.oracle import relative_difference

pytestmark = pytest.mark.filterwarnings("error:.*kernels are not of their planned rank")

# What of each must be factorized: attention, feed-forward layers, what makes tokens, and the head.
_PLANNED = {
    "functional_vit": {"patches", "places", "block_attention/query", "block_attention/attention_output", "block_mlp1", "head"},
    "layered_vit": {"patch_encoder/dense", "block/multi_head_attention/value", "block/sequential/dense_1", "features", "head"},
    "subclassed_vit": {"embed", "transformer_block/multi_head_attention/key", "transformer_block_1/sequential_1/dense_3"},
    "functional_text": {"words", "block_attention/key", "block_mlp2", "hidden", "head"},
    "subclassed_text": {"words", "block/multi_head_attention/query", "block/sequential/dense", "hidden", "head"},
}


def _cross_entropy(probabilities, classes):
    return -np.mean(np.log(probabilities[np.arange(len(classes)), classes].astype(np.float64)))


@pytest.mark.parametrize(("make", "data"), ARCHITECTURES.items(), ids=[make.__name__ for make in ARCHITECTURES])
def test_trained_projected_factorized_and_trained_again(make, data):
    model = make()
    (x, y), validation = data(), data(24, seed=1)
    model.compile(keras.optimizers.AdamW(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    callback = lrpet.LRPETCallback(rank=0.5)
    fitting = {"batch_size": 16, "epochs": 3, "validation_data": validation, "shuffle": False, "verbose": 0}
    history = model.fit(x, y, callbacks=[callback], **fitting).history
    assert history["loss"][-1] < history["loss"][0]

    plan = callback.plan
    assert _PLANNED[make.__name__] <= set(plan)
    small = lrpet.factorize(model)
    expected, received = (keras.ops.convert_to_numpy(which(validation[0], training=False)) for which in (model, small))
    assert relative_difference(expected, received) < 1e-5
    # The figures of the validation are those of the projected model, so also those of the small one.
    assert _cross_entropy(received, validation[1]) == pytest.approx(history["val_loss"][-1], rel=1e-4)
    assert np.mean(received.argmax(-1) == validation[1]) == pytest.approx(history["val_accuracy"][-1], abs=1e-6)
    assert lrpet.count_macs(small) == plan.low_rank_macs < 0.9 * lrpet.count_macs(model)
    assert lrpet.count_params(small) == plan.low_rank_params < lrpet.count_params(model)

    before = model.get_weights()
    assert isinstance(small.optimizer, keras.optimizers.AdamW) and small.optimizer is not model.optimizer
    assert float(small.optimizer.learning_rate) == pytest.approx(1e-3)
    small.optimizer.learning_rate = 1e-4  # a fresh Adam overshoots at the rate before, in the dense models too
    loss_before = small.evaluate(x[:16], y[:16], verbose=0)[0]
    small.fit(x[:16], y[:16], epochs=6, verbose=0)  # compiled as the model was
    assert small.evaluate(x[:16], y[:16], verbose=0)[0] < loss_before  # without the noise of dropout
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)

    small.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy", jit_compile=False)
    before = {variable.path: np.array(variable) for variable in small.trainable_variables}
    small.fit(x[:16], y[:16], batch_size=16, verbose=0)
    still = [v.path for v in small.trainable_variables if np.array_equal(before[v.path], np.array(v))]
    assert not [path for path in still if not path.endswith("key/bias")]  # which no softmax over keys can see


@pytest.mark.tensorflow
@pytest.mark.parametrize(("make", "data"), ARCHITECTURES.items(), ids=[make.__name__ for make in ARCHITECTURES])
def test_the_exported_file_agrees(tmp_path, make, data):
    model = make()
    plan = lrpet.make_plan(model, 0.5)
    lrpet.Projector(model, plan).project()
    small = lrpet.factorize(model, plan)
    samples = data(8, seed=2)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = lrpet.export_tflite(small, tmp_path / "small.tflite", samples=samples, reference=model)
    assert (tmp_path / "small.tflite").stat().st_size == report.exported.size_bytes
    assert report.samples == 8
    assert all(output.relative_difference < 1e-5 for output in (*report.parity, *report.reference_parity))
    assert report.exported.macs == plan.low_rank_macs < report.reference.macs == plan.macs
    assert report.exported.params == plan.low_rank_params
