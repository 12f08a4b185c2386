import keras
import numpy as np
import pytest
from keras import layers, ops

import lrpet_tf as lrpet
from lrpet_tf import errors
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
