"""Factors are pruned and clustered, and quantization-aware training leaves them so, down to the bytes of the file."""

import keras
import numpy as np
import pytest

from lrpet_tf import errors, interop
from tests import models
from tests.interop import nets

pytestmark = pytest.mark.tensorflow


def _kernel(model, name):
    return model.get_layer(name).get_weights()[0]


def _zeros(kernel):
    return float(np.mean(kernel == 0))


def _most_values(kernel):
    """Returns the most values that differ in one output channel."""
    return max(np.unique(channel).size for channel in np.moveaxis(kernel, -1, 0))


def _trained(model, epochs=1, callbacks=()):
    (images, labels), _ = nets.digits()
    nets.compiled(model).fit(images[:640], labels[:640], batch_size=64, epochs=epochs, verbose=0, callbacks=list(callbacks))
    return model


def _file_kernels(model, data, path):
    return {each.name: each for each in interop.export_quantized(model, path, samples=data).kernels}


def test_factors_are_known_by_their_names():
    small = nets.factorized()
    assert interop.factor_paths(small) == ("conv1_factor0", "conv1")
    inputs = keras.Input((8, 8, 1))
    outer = keras.Model(inputs, small(inputs))
    assert interop.factor_paths(outer) == ("digits/conv1_factor0", "digits/conv1")
    assert interop.factor_paths(models.residual()[0]) == ()


def test_zeros_survive_training_for_quantization(tmp_path):
    small, data = nets.factorized(), nets.digits()[0][0][:64]
    start = {name: _kernel(small, name) for name in ("conv0", "conv1_factor0", "conv1", "head")}
    pruned = _trained(interop.prune_factors(small, 0.6, end_step=9, frequency=3), callbacks=[interop.pruning_step()])
    sparse = interop.from_tf_keras(pruned, small)
    assert {name: round(_zeros(_kernel(sparse, name)), 2) for name in start} == {
        "conv0": 0.0, "conv1_factor0": 0.6, "conv1": 0.6, "head": 0.0,
    }  # fmt: skip
    for name, kernel in start.items():
        np.testing.assert_array_equal(_kernel(small, name), kernel)  # the source stays as it was
    stripped = interop.strip(pruned)
    assert nets.distance(sparse, stripped, data) < 1e-5

    aware = _trained(interop.quantize_aware(sparse, representative_data=data, preserve="sparsity"))
    back = interop.from_tf_keras(aware, sparse)
    kernels = _file_kernels(aware, data, tmp_path / "net.tflite")
    for name in ("conv1_factor0", "conv1"):
        before, after = _kernel(sparse, name), _kernel(back, name)
        assert np.abs(after - before).max() > 1e-3
        assert not after[before == 0].any()
        assert kernels[name].sparsity >= 0.59
    assert max(kernels[name].sparsity for name in ("conv0", "head")) < 0.1

    careless = _trained(interop.quantize_aware(sparse, representative_data=data))
    assert _zeros(_kernel(interop.from_tf_keras(careless, sparse), "conv1_factor0")) < 0.01


def test_equal_weights_survive_training_for_quantization(tmp_path):
    small, data = nets.factorized(), nets.digits()[0][0][:64]
    clustered = interop.from_tf_keras(_trained(interop.cluster_factors(small, 6)), small)
    for name in ("conv1_factor0", "conv1"):
        assert np.unique(_kernel(clustered, name)).size <= 6
    assert np.unique(_kernel(clustered, "head")).size > 100

    aware = _trained(interop.quantize_aware(clustered, representative_data=data, preserve="clusters"))
    back = interop.from_tf_keras(aware, clustered)
    kernels = _file_kernels(aware, data, tmp_path / "net.tflite")
    for name in ("conv1_factor0", "conv1"):
        assert np.abs(_kernel(back, name) - _kernel(clustered, name)).max() > 1e-3
        assert _most_values(_kernel(back, name)) <= 6
        assert 1 < kernels[name].values <= 6
    assert kernels["head"].values > 60


def test_clustering_keeps_zeros_and_both_survive(tmp_path):
    small, data = nets.factorized(), nets.digits()[0][0][:64]
    for name in ("conv1_factor0", "conv1"):
        kernel = _kernel(small, name)
        small.get_layer(name).set_weights([np.where(np.abs(kernel) < np.median(np.abs(kernel)), 0, kernel)])
    both = interop.from_tf_keras(_trained(interop.cluster_factors(small, 8)), small)
    aware = _trained(interop.quantize_aware(both, representative_data=data, preserve="both"))
    kernels = _file_kernels(aware, data, tmp_path / "net.tflite")
    for name in ("conv1_factor0", "conv1"):
        assert _zeros(_kernel(both, name)) >= 0.49
        assert kernels[name].sparsity >= 0.49
        assert kernels[name].values <= 9


def test_layers_by_pattern():
    model = models.residual()[0]
    pruned = interop.prune_factors(model, 0.5, layers=["stem", "head"], end_step=1)
    names = {layer.name for layer in pruned.layers}
    assert {"prune_low_magnitude_stem", "prune_low_magnitude_head", "body"} <= names
    clustered = interop.cluster_factors(model, 4, layers="body")
    assert [layer.name for layer in clustered.layers if layer.name.startswith("cluster_")] == ["cluster_body"]


def test_wrong_arguments():
    model, small = models.residual()[0], nets.factorized()
    for change in (interop.prune_factors, interop.cluster_factors):
        with pytest.raises(errors.LowRankError, match="Model 'residual' has no factors"):
            change(model)
        with pytest.raises(errors.PatternError, match="'nothing'"):
            change(small, layers="nothing")
        with pytest.raises(errors.LowRankError, match="cannot change a layer of model 'net'"):
            inputs = keras.Input((4, 4, 2))
            odd = keras.Model(inputs, keras.layers.GroupNormalization(1, name="norm")(inputs), name="net")
            change(odd, layers="norm")
    for sparsity in (0, 1, -0.5, 60):
        with pytest.raises(ValueError, match="`sparsity` must lie in"):
            interop.prune_factors(small, sparsity)
    for steps in ({"end_step": 0}, {"begin_step": 5, "end_step": 5}, {"frequency": 0}):
        with pytest.raises(ValueError, match="begin_step < end_step"):
            interop.prune_factors(small, **steps)
    with pytest.raises(ValueError, match="clusters=1"):
        interop.cluster_factors(small, 1)
