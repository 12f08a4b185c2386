import keras
import numpy as np
import pytest
from keras import layers

import lrpet_tf as lrpet
from lrpet_tf import errors, planning
from lrpet_tf.analysis import analyze
from tests import models

pytest.importorskip("matplotlib")


def _net(count=4):
    """Kernels whose spectra decay differently, under batch norms that scale the channels."""
    rng = np.random.default_rng(0)
    inputs = x = keras.Input((8, 8, 16))
    for index in range(count):
        x = layers.Conv2D(16, 3, padding="same", use_bias=False, name=f"conv{index}")(x)
        x = layers.BatchNormalization(name=f"bn{index}")(x)
    model = keras.Model(inputs, x, name="net")
    for index in range(count):
        left, right = (np.linalg.qr(rng.standard_normal((size, 16)))[0] for size in (144, 16))
        kernel = left * np.exp(-np.arange(16) / (2 + index)) @ right.T
        model.get_layer(f"conv{index}").kernel.assign(kernel.reshape(3, 3, 16, 16))
        model.get_layer(f"bn{index}").gamma.assign(rng.uniform(0.5, 2.0, 16))
    return model


def _oracle(model, path, rank):
    """The energy kept, with NumPy alone."""
    bn = model.get_layer(path.replace("conv", "bn"))
    gain = np.array(bn.gamma, np.float64) / np.sqrt(np.array(bn.moving_variance, np.float64) + bn.epsilon)
    kernel = np.array(model.get_layer(path).kernel, np.float64).reshape(-1, 16) * gain
    values = np.linalg.svd(kernel, compute_uv=False) ** 2
    return values[:rank].sum() / values.sum()


def _lines(figure):
    return {line.get_label(): np.asarray(line.get_xydata()) for line in figure.axes[0].lines}


def test_spectra_show_the_energy_kept(tmp_path):
    model = _net()
    plan = lrpet.make_plan(model, 0.25)
    figure = lrpet.plot_spectra(model, plan, tmp_path / "spectra.svg")
    titles = {axis.get_title().split("\n")[0]: axis.get_title().split("\n")[1] for axis in figure.axes if axis.get_title()}
    assert titles == {path: f"rank 4 of 16, keeps {_oracle(model, path, 4):.3f}" for path in plan}
    assert [path.name for path in tmp_path.iterdir()] == ["spectra.svg"]
    cuts = [line.get_xdata()[0] for axis in figure.axes for line in axis.lines if line.get_linestyle() == "--"]
    assert cuts == [4.5] * 4


def test_nested_and_wide_models():
    model, _ = models.nested()
    plan = lrpet.make_plan(model, 0.25)
    titles = [axis.get_title() for axis in lrpet.plot_spectra(model, plan).axes]
    assert any("block/conv1" in title for title in titles)
    model = _net(26)
    plan = lrpet.make_plan(model, 0.25)
    written = [text.get_text() for text in lrpet.plot_spectra(model, plan).axes[0].texts]
    assert all(f"{_oracle(model, path, 4):.3f}" in written for path in plan)


def test_what_cannot_be_drawn(tmp_path):
    model = _net(1)
    plan = lrpet.make_plan(model, 0.25)
    empty = lrpet.make_plan(model, 1.0)
    with pytest.raises(errors.LowRankError, match="at least one layer. Received: one that leaves all 1"):
        lrpet.plot_spectra(model, empty, tmp_path / "a.png")
    with pytest.raises(errors.LowRankError, match="Received: plan=0.5"):
        lrpet.plot_spectra(model, 0.5)
    with pytest.raises(errors.LowRankError, match="known format"):
        lrpet.plot_spectra(model, plan, tmp_path / "a.pngg")
    with pytest.raises(errors.PlanMismatchError):
        lrpet.plot_spectra(models.residual()[0], plan, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_budgets_are_those_of_the_plans(tmp_path):
    model, shares = _net(), (0.3, 0.6, 1.0)
    figure = lrpet.plot_budget(model, tmp_path / "budget.png", shares=shares)
    lines = _lines(figure)
    for name, rule in (("MacsBudget", lrpet.MacsBudget), ("uniform share", lrpet.Share)):
        points = []
        for share in shares:
            plan = lrpet.make_plan(model, rule(share))
            kept = [_oracle(model, path, plan[path].rank) if path in plan else 1.0 for path in map("conv{}".format, range(4))]
            points.append((plan.low_rank_macs / plan.macs, np.mean(kept), np.min(kept)))
        np.testing.assert_allclose(lines[f"{name}: mean of the layers"], np.array(points)[:, :2], atol=1e-6)
        np.testing.assert_allclose(lines[f"{name}: worst layer"], np.array(points)[:, ::2], atol=1e-6)
    assert "multiply-accumulates" in figure.axes[0].get_xlabel()
    assert (tmp_path / "budget.png").stat().st_size > 10_000


def test_the_least_reachable_budget_is_marked():
    model = _net()
    with pytest.raises(errors.BudgetError) as error:
        lrpet.make_plan(model, lrpet.MacsBudget(0.01))
    # rank 1 of p = 144, m = 16: (p + m) / (p · m)
    least = 160 / (144 * 16)
    assert f"{least:.4f}" in str(error.value)
    lines = _lines(lrpet.plot_budget(model, shares=(0.01, 0.05, 0.5)))
    assert f"least reachable: {least:.3f}" in lines
    np.testing.assert_allclose(lines[f"least reachable: {least:.3f}"][:, 0], least)
    np.testing.assert_allclose(lines["MacsBudget: mean of the layers"][:, 0], [least, 0.5], atol=0.02)
    assert len(_lines(lrpet.plot_budget(model, shares=(0.01,)))["MacsBudget: mean of the layers"]) == 1


def test_the_weights_are_read_once(monkeypatch):
    model, read = _net(), []
    original = planning._spectrum
    monkeypatch.setattr(planning, "_spectrum", lambda path, *rest: read.append(path) or original(path, *rest))
    lrpet.plot_budget(model)
    assert sorted(read) == [f"conv{index}" for index in range(4)]
    read.clear()
    plan, drawings = analyze(model, lrpet.MacsBudget(0.5))
    for draw in drawings.values():
        draw()
    assert sorted(read) == [f"conv{index}" for index in range(4)]
    assert plan == lrpet.make_plan(model, lrpet.MacsBudget(0.5))


def test_other_budgets_and_costs():
    model = _net()
    figure = lrpet.plot_budget(model, budget=lrpet.ParamsBudget, shares=(0.5,), exclude="conv0")
    assert "weights" in figure.axes[0].get_xlabel()
    plan = lrpet.make_plan(model, lrpet.ParamsBudget(0.5), exclude="conv0")
    (point,) = _lines(figure)["ParamsBudget: mean of the layers"]
    kept = [_oracle(model, path, plan[path].rank) if path in plan else 1.0 for path in ("conv1", "conv2", "conv3")]
    np.testing.assert_allclose(point, [plan.low_rank_params / plan.params, np.mean(kept)], atol=1e-6)

    figure = lrpet.plot_budget(model, budget=lrpet.Energy, shares=(0.9,), cost=lambda plan: 0.25)
    assert _lines(figure)["Energy: mean of the layers"][0][0] == 0.25
    figure = lrpet.plot_budget(model, budget=lambda share: lrpet.MacsBudget(share, criterion="max"), shares=(0.5,))
    assert "MacsBudget: worst layer" in _lines(figure)


def test_a_rank_that_a_budget_does_not_offer_costs_what_the_next_one_does():
    model = _net()
    figure = lrpet.plot_budget(model, budget=lambda share: lrpet.ParamsBudget(share, multiple_of=4), shares=(0.2,))
    dense, four = 144 * 16, 4 * (144 + 16)  # a share of 0.2 is rank 3; no biases
    ((cost, _),) = _lines(figure)["uniform share: mean of the layers"]
    np.testing.assert_allclose(cost, four / dense)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shares": ()}, "at least one share"), ({"shares": (1.5,)}, "Received: rank=1.5"), ({"budget": 0.5}, "budget=0.5"),
        ({"path": "a.what"}, "known format"), ({"include": "nothing"}, "matches no layer"),
    ],
)  # fmt: skip
def test_bad_options(options, message):
    with pytest.raises(errors.LowRankError, match=message):
        lrpet.plot_budget(_net(1), **options)


def test_a_model_without_layers_to_factorize():
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.DepthwiseConv2D(3)])
    with pytest.raises(errors.NothingToFactorizeError, match="no layer that can be factorized"):
        lrpet.plot_budget(model)
    plan, drawings = analyze(model, 0.5)
    assert (len(plan), drawings) == (0, {})


def test_unknown_sizes_are_weighed_by_their_weights():
    model = keras.Sequential([keras.Input((None, None, 16)), layers.Conv2D(32, 3, name="conv")])
    plan, drawings = analyze(model, 0.25)
    assert list(plan) == ["conv"]
    assert "weights" in drawings["budget"]().axes[0].get_xlabel()
