import os
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
from keras import layers, ops

import lrpet_tf as lrpet
from lrpet_tf import errors
from lrpet_tf.linalg import ENGINES
from tests import models, oracle


def _kernel(layer):
    return ops.convert_to_numpy(layer.kernel).astype("float64").reshape(-1, layer.kernel.shape[-1])


@pytest.mark.parametrize(
    "options", [{}, {"energy": "raw"}, {"energy": "none"}, {"tail": 0.3}, {"damping": 1e-2}, {"bn_rectify": False}]
)
def test_projects_as_the_oracle_does(options):
    model, _ = models.residual()
    oracle.set_batch_norm_statistics(model)
    plan = lrpet.make_plan(model, 0.3, include=["stem", "body"])
    before = {path: _kernel(model.get_layer(path)) for path in ("stem", "body")}
    lrpet.Projector(model, plan, **options).project()
    formula = {key: value for key, value in options.items() if key != "bn_rectify"}
    for path in before:
        bn = model.get_layer(f"{path}_bn")
        gain = ops.convert_to_numpy(bn.gamma) / np.sqrt(ops.convert_to_numpy(bn.moving_variance) + bn.epsilon)
        rectify = options.get("bn_rectify", True)
        expected = oracle.truncated(before[path], 4, gain if rectify else None, **formula)[0]
        np.testing.assert_allclose(_kernel(model.get_layer(path)), expected, atol=1e-5)


def test_without_scale_the_gamma_is_one():
    model, _ = models.branches()
    oracle.set_batch_norm_statistics(model)
    plan = lrpet.make_plan(model, 0.3, include="row")
    before, bn = _kernel(model.get_layer("row")), model.get_layer("bn")
    lrpet.Projector(model, plan).project()
    expected = oracle.truncated(before, 4, 1 / np.sqrt(ops.convert_to_numpy(bn.moving_variance) + bn.epsilon))[0]
    np.testing.assert_allclose(_kernel(model.get_layer("row")), expected, atol=1e-5)


def test_energy_kept_is_the_mean_share():
    model, _ = models.sequential()
    plan = lrpet.make_plan(model, 0.25, include=["conv1", "head"])
    shares = []
    for layer in plan.layers:
        values = np.linalg.svd(_kernel(model.get_layer(layer.path)), compute_uv=False)
        shares.append(np.sum(values[: layer.rank] ** 2) / np.sum(values**2))
    projector = lrpet.Projector(model, plan)
    assert projector.project() == pytest.approx(np.mean(shares), rel=1e-5)
    assert projector.project() == pytest.approx(1.0, abs=1e-5)


def test_nothing_is_projected_when_one_kernel_is_not_finite():
    model, _ = models.residual()
    plan = lrpet.make_plan(model, 0.3)
    kernel = np.array(ops.convert_to_numpy(model.get_layer("head").kernel))
    kernel[0, 0] = np.inf
    model.get_layer("head").kernel.assign(kernel)
    before = _kernel(model.get_layer("stem"))
    with pytest.raises(errors.NonFiniteKernelError, match="kernel of layer 'head'.*now"):
        lrpet.Projector(model, plan).project(when="now")
    np.testing.assert_array_equal(_kernel(model.get_layer("stem")), before)


def test_a_batch_norm_that_is_not_finite():
    model, _ = models.residual()
    plan = lrpet.make_plan(model, 0.3)
    model.get_layer("body_bn").moving_variance.assign(np.full(16, np.nan))
    with pytest.raises(errors.NonFiniteKernelError, match="batch-norm scale of layer 'body'"):
        lrpet.Projector(model, plan).project()


def test_a_plan_of_another_model():
    model, _ = models.residual()
    other, _ = models.sequential()
    with pytest.raises(errors.PlanMismatchError, match="'conv1'"):
        lrpet.Projector(model, lrpet.make_plan(other, 0.3))


def test_a_loop_of_ones_own(rng):
    model = keras.Sequential([keras.Input((20,)), layers.Dense(16, name="dense")])
    plan = lrpet.make_plan(model, 0.25)
    projector = lrpet.Projector(model, plan)
    for _ in range(3):
        model.get_layer("dense").kernel.assign_add(0.1 * rng.standard_normal((20, 16)).astype("float32"))
        projector.project()
    assert np.linalg.matrix_rank(_kernel(model.get_layer("dense")), tol=1e-5) == 4


def _many(layers_of_each=3):
    """Convolutions of two shapes, some with a batch norm."""
    x = inputs = keras.Input((8, 8, 16))
    for index in range(layers_of_each):
        x = layers.Conv2D(16, 3, padding="same", name=f"plain{index}")(x)
        x = layers.BatchNormalization(name=f"bn{index}")(layers.Conv2D(16, 3, padding="same", name=f"normed{index}")(x))
        x = layers.Conv2D(16, 3, padding="same", groups=2, name=f"grouped{index}")(x)
    return keras.Model(inputs, layers.Conv2D(64, 1, name="wide")(x))


def _expected(layer, rank, batch_norm):
    """Each group on its own, by the oracle."""
    kernel = ops.convert_to_numpy(layer.kernel).astype("float64")
    gain = np.ones(kernel.shape[-1])
    if batch_norm is not None:
        variance = ops.convert_to_numpy(batch_norm.moving_variance)
        gain = ops.convert_to_numpy(batch_norm.gamma) / np.sqrt(variance + batch_norm.epsilon)
    parts = zip(np.split(kernel, layer.groups, axis=-1), np.split(gain, layer.groups), strict=True)
    projected = [oracle.truncated(part.reshape(-1, len(scale)), rank, scale)[0] for part, scale in parts]
    return np.concatenate(projected, axis=-1).reshape(kernel.shape)


@pytest.mark.parametrize("engine", [*ENGINES, "auto"])
def test_kernels_of_one_shape_are_projected_together_as_alone(rng, engine):
    model = _many()
    oracle.set_batch_norm_statistics(model)
    plan = lrpet.make_plan(model, 0.5, keep_if_no_gain=True)
    projector = lrpet.Projector(model, plan, engine=engine)
    assert sorted(len(batch.targets) for batch in projector.batches) == [1, 3, 3, 3]
    for _ in range(3):
        found = {layer.path: model.get_layer(layer.path) for layer in plan.layers}
        batch_norms = {path: plan[path].batch_norm and model.get_layer(plan[path].batch_norm) for path in found}
        expected = {path: _expected(layer, plan[path].rank, batch_norms[path]) for path, layer in found.items()}
        projector.project()
        for path, layer in found.items():
            np.testing.assert_allclose(ops.convert_to_numpy(layer.kernel), expected[path], atol=2e-5)
            layer.kernel.assign(layer.kernel + 1e-3 * rng.standard_normal(layer.kernel.shape))


def test_large_kernels_are_not_copied_into_one_batch():
    inputs = keras.Input((4, 1024))
    x = inputs
    for index in range(3):
        x = layers.Dense(1024, name=f"dense{index}")(x)
    model = keras.Model(inputs, x)
    projector = lrpet.Projector(model, lrpet.make_plan(model, 8, keep_if_no_gain=True))
    assert [len(batch.targets) for batch in projector.batches] == [1, 1, 1]


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="nothing is traced")
def test_the_function_is_traced_once(monkeypatch):
    model = _many()
    projector = lrpet.Projector(model, lrpet.make_plan(model, 0.5, keep_if_no_gain=True))
    calls, original = [], type(projector.batches[0]).project

    def counted(*args, **kwargs):
        calls.append(args)
        return original(*args, **kwargs)

    monkeypatch.setattr(type(projector.batches[0]), "project", counted)
    for _ in range(4):
        projector.project()
    assert len(calls) == len(projector.batches)
    for rank in (5, 4, 3):
        projector.project(ranks={"plain0": rank + 1, "wide": rank})
    assert len(calls) == 2 * len(projector.batches)
    assert np.linalg.matrix_rank(_kernel(model.get_layer("wide")), tol=1e-4) == 3
    assert np.linalg.matrix_rank(_kernel(model.get_layer("plain0")), tol=1e-4) == 4
    assert np.linalg.matrix_rank(_kernel(model.get_layer("plain1")), tol=1e-4) == 8


def test_arrays_of_jax_stay_unbound_to_their_device():
    if keras.backend.backend() != "jax":
        pytest.skip("JAX alone compiles a training step anew for arrays that are bound")
    model = _many(1)
    projector = lrpet.Projector(model, lrpet.make_plan(model, 0.5, keep_if_no_gain=True, include=["plain0", "normed0"]))
    committed = [weight.value.committed for weight in model.weights]
    projector.project()
    assert [weight.value.committed for weight in model.weights] == committed


def test_the_engines_are_described():
    model = _many()
    plan = lrpet.make_plan(model, 0.5, keep_if_no_gain=True, include=["wide", "grouped.*"])
    text = lrpet.Projector(model, plan, engine="randomized").describe()
    assert "4 kernels are projected in 2 batches" in text
    assert "3 × 3×3×8×16, channel, rank 4: randomized" in text


def _run(code, **environment):
    return subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=os.environ | environment, check=True, timeout=300)


@pytest.mark.tensorflow
@pytest.mark.slow
def test_replicas_stay_equal_in_a_mirrored_strategy():
    _run("""
        import numpy as np, tensorflow as tf, keras, lrpet_tf as lrpet
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        with strategy.scope():
            inputs = keras.Input((8, 8, 3))
            x = keras.layers.Conv2D(16, 3, use_bias=False, name="conv")(inputs)
            x = keras.layers.Flatten()(keras.layers.BatchNormalization()(x))
            model = keras.Model(inputs, keras.layers.Dense(4)(x))
            model.compile("sgd", "mse")
        x, y = np.random.default_rng(0).standard_normal((64, 8, 8, 3)), np.zeros((64, 4))
        callback = lrpet.LRPETCallback(0.25, every=2, include="conv")
        model.fit(x, y, batch_size=16, epochs=2, verbose=0, callbacks=[callback])
        kernels = [each.numpy() for each in strategy.experimental_local_results(model.get_layer("conv").kernel.value)]
        assert len(kernels) == 2
        np.testing.assert_array_equal(*kernels)
        assert np.linalg.matrix_rank(kernels[0].reshape(27, 16), tol=1e-4) == 4
    """)


def test_sharded_arrays_stay_sharded():
    """Runs on JAX whatever the backend of the tests is."""
    pytest.importorskip("jax")
    _run(
        """
        import jax, numpy as np, keras, lrpet_tf as lrpet
        assert len(jax.devices()) == 4
        mesh = keras.distribution.DeviceMesh((2, 2), ["batch", "model"])
        layout = keras.distribution.LayoutMap(mesh)
        layout["dense.*kernel"] = (None, "model")
        keras.distribution.set_distribution(keras.distribution.ModelParallel(layout_map=layout, batch_dim_name="batch"))
        inputs = keras.Input((32,))
        model = keras.Model(inputs, keras.layers.Dense(8, name="head")(keras.layers.Dense(64, name="dense")(inputs)))
        kernel = model.get_layer("dense").kernel
        before, sharding = np.array(kernel), kernel.value.sharding
        assert len(sharding.device_set) == 4
        plan = lrpet.make_plan(model, 8, include="dense")
        projector = lrpet.Projector(model, plan, energy="none")
        for _ in range(2):
            projector.project()
        assert kernel.value.sharding.is_equivalent_to(sharding, 2), kernel.value.sharding
        left, values, right = np.linalg.svd(before.astype("float64"), full_matrices=False)
        np.testing.assert_allclose(np.array(kernel), (left[:, :8] * values[:8]) @ right[:8], atol=1e-5)
        """,
        KERAS_BACKEND="jax",
        XLA_FLAGS="--xla_force_host_platform_device_count=4",
    )
