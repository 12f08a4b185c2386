"""What every rule must do, and what each one does, on kernels of known spectra."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import layers, ops

import lrpet_tf as lrpet
from lrpet_tf import decompositions, errors, ranks
from lrpet_tf.linalg import FactorShape
from tests import models

RULES = {
    "share": ranks.Share(0.4),
    "absolute": ranks.Absolute(5),
    "energy": ranks.Energy(0.8),
    "numerical": ranks.NumericalRank(0.3),
    "macs": ranks.MacsBudget(0.6),
    "macs, minimax": ranks.MacsBudget(0.6, criterion="max"),
    "macs, product": ranks.MacsBudget(0.6, criterion="product"),
    "params": ranks.ParamsBudget(0.6),
    "size": ranks.SizeBudget(0.7),
}


def _net(seed=0):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((16, 16, 3))
    x = inputs
    for index, filters in enumerate((24, 32, 48)):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False, name=f"conv{index}")(x)
        x = layers.ReLU()(layers.BatchNormalization(name=f"bn{index}")(x))
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.Dense(64, name="hidden")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, layers.Dense(40, name="head")(x), name="net")
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.gamma.assign(rng.uniform(0.1, 3, layer.gamma.shape))
            layer.moving_variance.assign(rng.uniform(0.3, 2, layer.gamma.shape))
    return model


def _spectrum(model, path, batch_norm=None):
    """Singular values of a kernel as its batch norm scales it, in NumPy float64."""
    kernel = ops.convert_to_numpy(model.get_layer(path).kernel).astype(np.float64)
    matrix = kernel.reshape(-1, kernel.shape[-1])
    if batch_norm is not None:
        bn = model.get_layer(batch_norm)
        gamma, variance = (ops.convert_to_numpy(each).astype(np.float64) for each in (bn.gamma, bn.moving_variance))
        matrix = matrix * (gamma / np.sqrt(variance + bn.epsilon))
    return np.linalg.svd(matrix, compute_uv=False)


def _kept(spectrum, rank):
    return np.sum(spectrum[:rank] ** 2) / np.sum(spectrum**2)


def _of_size(rule):
    return pytest.mark.tensorflow if isinstance(rule, ranks.SizeBudget) else ()


EVERY_RULE = [pytest.param(rule, id=name, marks=_of_size(rule)) for name, rule in RULES.items()]


@pytest.mark.parametrize("rule", EVERY_RULE)
def test_ranks_are_within_bounds(rule):
    plan = lrpet.make_plan(_net(), rule)
    assert plan.layers
    assert all(1 <= layer.rank <= layer.full_rank for layer in plan.layers)
    assert all(layer.low_rank_macs < layer.macs for layer in plan.layers)


@pytest.mark.parametrize("rule", EVERY_RULE)
def test_multiple_of_and_min_rank(rule):
    rounded = dataclasses.replace(rule, multiple_of=4, min_rank=5)
    plan = lrpet.make_plan(_net(), rounded, keep_if_no_gain=True)
    assert plan.layers
    for layer in plan.layers:
        assert layer.rank >= min(5, layer.full_rank)
        assert layer.rank % 4 == 0 or layer.rank == layer.full_rank


@pytest.mark.parametrize("rule", EVERY_RULE)
def test_rules_are_text_and_back(rule):
    assert ranks.get(repr(rule)) == rule
    rounded = dataclasses.replace(rule, multiple_of=4)
    assert ranks.get(repr(rounded)) == rounded


@pytest.mark.parametrize("rule", EVERY_RULE)
def test_rules_stand_in_a_dict_of_patterns(rule):
    plan = lrpet.make_plan(_net(), {"conv.*": rule, "hidden": 0.25})
    assert plan["hidden"].rank == 12
    assert any(path.startswith("conv") for path in plan)
    assert "head" not in plan


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("0.5", ranks.Share(0.5)),
        ("8", ranks.Absolute(8)),
        ("MacsBudget(0.5)", ranks.MacsBudget(0.5)),
        ("SizeBudget('300 kB', quantize='int8')", ranks.SizeBudget("300 kB", quantize="int8")),
        ("{'conv.*': 'Energy(0.9)', 'head': 0.5}", ranks.ByPattern({"conv.*": ranks.Energy(0.9), "head": ranks.Share(0.5)})),
        ("LatencyBudget(ms=12)", ranks.LatencyBudget(ms=12)),
    ],
)
def test_texts(text, rule):
    assert ranks.get(text) == rule


@pytest.mark.parametrize(
    "text", ["half", "", "MacsBudget", "MacsBudget()", "__import__('os')", "Unknown(0.5)", "0.5 +", "'0.5'"]
)
def test_texts_that_are_no_rank(text):
    with pytest.raises(errors.RankError, match="Received: rank="):
        ranks.get(text)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ranks.Energy(0),
        lambda: ranks.Energy(1.1),
        lambda: ranks.Energy(True),
        lambda: ranks.MacsBudget(0.0),
        lambda: ranks.MacsBudget(1.5),
        lambda: ranks.MacsBudget(-3),
        lambda: ranks.MacsBudget("20 apples"),
        lambda: ranks.MacsBudget(True),
        lambda: ranks.MacsBudget(None),
        lambda: ranks.MacsBudget(0.5, criterion="mean"),
        lambda: ranks.ParamsBudget("0 k"),
        lambda: ranks.SizeBudget("300 ms"),
        lambda: ranks.SizeBudget(0.5, quantize="int4"),
        lambda: ranks.LatencyBudget(),
        lambda: ranks.LatencyBudget(0.5, ms=3),
        lambda: ranks.LatencyBudget(12),
        lambda: ranks.LatencyBudget(ms=0),
        lambda: ranks.LatencyBudget(0.5, table={}),
        lambda: ranks.LatencyBudget("12 kB"),
        lambda: ranks.Share(0.5, multiple_of=0),
        lambda: ranks.Share(0.5, min_rank=1.5),
    ],
)
def test_bad_values(make):
    with pytest.raises(errors.LowRankError, match="Received: "):
        make()


def test_unknown_options_are_refused():
    with pytest.raises(TypeError):
        ranks.MacsBudget(0.5, multiples=8)


@pytest.mark.parametrize(
    ("text", "unit", "amount"),
    [
        ("300 kB", "B", 300e3), ("300kB", "B", 300e3), ("1.5 MB", "B", 1.5e6), ("2 KiB", "B", 2048), ("7", "B", 7),
        ("20 M", "MACs", 20e6), ("20 MMACs", "MACs", 20e6), ("12 ms", "ms", 12), ("2e3", "B", 2000), ("12 s", "ms", None),
    ],
)  # fmt: skip
def test_quantities(text, unit, amount):
    assert ranks.quantities.parse_quantity(text, unit) == amount


def test_energy_is_the_smallest_rank_of_the_scaled_kernel():
    model = _net()
    for share in (0.5, 0.8, 0.95):
        plan = lrpet.make_plan(model, ranks.Energy(share), keep_if_no_gain=True)
        for path, batch_norm in (("conv0", "bn0"), ("conv1", "bn1"), ("conv2", "bn2"), ("hidden", None), ("head", None)):
            spectrum = _spectrum(model, path, batch_norm)
            rank = plan[path].rank
            assert _kept(spectrum, rank) >= share - 1e-6
            assert rank == 1 or _kept(spectrum, rank - 1) < share + 1e-6
            assert plan[path].energy_kept == pytest.approx(_kept(spectrum, rank), abs=1e-6)


def test_energy_on_a_spectrum_of_equal_values():
    model = keras.Sequential([keras.Input((64,)), layers.Dense(10, use_bias=False, name="dense")])
    model.get_layer("dense").kernel.assign(np.linalg.qr(np.random.default_rng(0).standard_normal((64, 10)))[0])
    for share, rank in ((0.2, 2), (0.25, 3), (1.0, 10)):
        assert lrpet.make_plan(model, ranks.Energy(share - 1e-7), keep_if_no_gain=True)["dense"].rank == rank


def test_rounding_goes_up_so_that_no_less_is_kept():
    model = _net()
    exact = lrpet.make_plan(model, ranks.Energy(0.8), keep_if_no_gain=True)
    rounded = lrpet.make_plan(model, ranks.Energy(0.8, multiple_of=8), keep_if_no_gain=True)
    assert all(exact[path].rank <= rounded[path].rank < exact[path].rank + 8 for path in exact)


@pytest.mark.parametrize("criterion", ["sum", "max", "product"])
@pytest.mark.parametrize("share", [0.8, 0.5, 0.3])
def test_budgets_are_met_closely(share, criterion):
    model = _net()
    plan = lrpet.make_plan(model, ranks.MacsBudget(share, criterion=criterion))
    assert 0.98 * share * plan.macs < plan.low_rank_macs <= share * plan.macs
    assert plan.low_rank_macs == lrpet.count_macs(lrpet.factorize(_projected(model, plan), plan))
    plan = lrpet.make_plan(model, ranks.ParamsBudget(share, criterion=criterion))
    assert 0.99 * share * plan.params < plan.low_rank_params <= share * plan.params


def _projected(model, plan):
    lrpet.Projector(model, plan).project()
    return model


def test_absolute_amounts():
    model = _net()
    plan = lrpet.make_plan(model, "MacsBudget('120 k')")
    assert 0.98 * 120e3 < plan.low_rank_macs <= 120e3
    assert lrpet.make_plan(model, ranks.MacsBudget(120_000)).layers == plan.layers
    assert lrpet.make_plan(model, ranks.ParamsBudget("12 k")).low_rank_params <= 12e3


def test_numpy_numbers_are_limits_too():
    model = _net()
    rule = ranks.MacsBudget(np.float64(0.5))
    assert ranks.get(repr(rule)) == rule
    assert lrpet.make_plan(model, rule) == lrpet.make_plan(model, ranks.MacsBudget(0.5))
    assert lrpet.make_plan(model, ranks.MacsBudget(np.int64(120_000))).low_rank_macs <= 120_000


def test_a_budget_of_everything_leaves_all_dense():
    plan = lrpet.make_plan(_net(), ranks.MacsBudget(1.0))
    assert not plan.layers
    assert "left dense by MacsBudget(1.0)" in {layer.path: layer.reason for layer in plan.skipped}["conv2"]


def test_more_budget_never_keeps_less():
    model = _net()
    losses = []
    for share in (0.3, 0.4, 0.5, 0.7, 0.9):
        plan = lrpet.make_plan(model, ranks.MacsBudget(share))
        losses.append(sum(1 - layer.energy_kept for layer in plan.layers))
    assert losses == sorted(losses, reverse=True)


def test_a_budget_keeps_more_than_a_uniform_share_of_the_same_cost():
    model = _net()
    uniform = lrpet.make_plan(model, 0.4)
    plan = lrpet.make_plan(model, ranks.MacsBudget(uniform.low_rank_macs))
    lost = sum(1 - layer.energy_kept for layer in plan.layers)
    names = {"conv0": "bn0", "conv1": "bn1", "conv2": "bn2"}
    assert lost < sum(1 - _kept(_spectrum(model, path, names.get(path)), uniform[path].rank) for path in uniform)
    assert plan.low_rank_macs <= uniform.low_rank_macs


def test_the_minimax_has_the_smaller_largest_loss():
    model = _net()
    largest = {
        criterion: max(
            1 - layer.energy_kept for layer in lrpet.make_plan(model, ranks.MacsBudget(0.5, criterion=criterion)).layers
        )
        for criterion in ("sum", "max")
    }
    assert largest["max"] <= largest["sum"]


def test_an_unreachable_budget_states_the_least():
    model = _net()
    least = lrpet.make_plan(model, 1).low_rank_macs  # rank one everywhere
    with pytest.raises(
        errors.BudgetError, match=f"MacsBudget\\(0.001\\).*least that can be reached is {least / 1e3:.2f} k MACs"
    ):
        lrpet.make_plan(model, ranks.MacsBudget(0.001))
    assert lrpet.make_plan(model, ranks.MacsBudget(least)).low_rank_macs == least
    with pytest.raises(errors.BudgetError):
        lrpet.make_plan(model, ranks.MacsBudget(least - 1))


def test_what_stays_dense_counts_in_the_budget_of_the_whole_model():
    model = _net()
    plan = lrpet.make_plan(model, ranks.MacsBudget(0.6), exclude="conv2")
    assert 0.97 * 0.6 * plan.macs < plan.low_rank_macs <= 0.6 * plan.macs
    with pytest.raises(errors.BudgetError, match="belong to layers that stay as they are"):
        lrpet.make_plan(model, ranks.MacsBudget(0.3), exclude=["conv1", "conv2"])


def test_in_a_pattern_the_budget_is_that_of_its_layers():
    model = _net()
    plan = lrpet.make_plan(model, {"conv[12]": ranks.MacsBudget(0.5)})
    assert set(plan) <= {"conv1", "conv2"}
    dense = {layer.path: layer.macs for layer in (*plan.layers, *plan.skipped)}
    before = dense["conv1"] + dense["conv2"]
    after = sum(plan[path].low_rank_macs if path in plan else dense[path] for path in ("conv1", "conv2"))
    assert 0.97 * 0.5 * before < after <= 0.5 * before


def test_unknown_sizes():
    model = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(32, 3, name="conv")])
    with pytest.raises(errors.LowRankError, match="layer 'conv' depend on an unknown size.*ParamsBudget"):
        lrpet.make_plan(model, ranks.MacsBudget(0.5))
    assert lrpet.make_plan(model, ranks.ParamsBudget(0.5))["conv"].low_rank_params <= 0.5 * 896


def test_a_layer_called_twice_counts_twice():
    model, _ = models.shared_layers()
    plan = lrpet.make_plan(model, ranks.MacsBudget(0.5))
    assert plan.low_rank_macs <= 0.5 * plan.macs == 0.5 * lrpet.count_macs(model)


def test_a_kernel_of_zeros_loses_nothing():
    model = _net()
    model.get_layer("conv2").kernel.assign(np.zeros((3, 3, 32, 48)))
    plan = lrpet.make_plan(model, ranks.MacsBudget(0.5))
    assert plan["conv2"].rank == 1
    assert plan["conv2"].energy_kept == 1


def test_a_kernel_of_nan_is_named():
    model = _net()
    model.get_layer("conv1").kernel.assign(np.full((3, 3, 24, 32), np.nan))
    with pytest.raises(errors.NonFiniteKernelError, match="'conv1'"):
        lrpet.make_plan(model, ranks.MacsBudget(0.5))


@pytest.mark.tensorflow
@pytest.mark.parametrize(("quantize", "limit"), [(None, "50 kB"), ("float16", "30 kB"), ("int8", "24 kB")])
def test_the_size_is_that_of_the_file(quantize, limit):
    from lrpet_tf.litert import convert

    model = _net()
    rng = np.random.default_rng(0)
    for weight in model.weights:  # as after training: no two biases alike
        if len(weight.shape) == 1:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    plan = lrpet.make_plan(model, ranks.SizeBudget(limit, quantize=quantize))
    size = len(convert(lrpet.factorize(_projected(model, plan), plan), quantize=quantize).content)
    allowed = float(limit.split()[0]) * 1000
    assert 0.97 * allowed < size <= 1.002 * allowed


def test_a_rule_of_ones_own():
    @dataclasses.dataclass(frozen=True)
    class Widest(ranks.RankRule):
        def choose(self, problem):
            widest = max(problem.candidates, key=lambda candidate: candidate.dense.params)
            return {widest.path: 3, "hidden": ranks.Dense("by choice")}

    plan = lrpet.make_plan(_net(), Widest())
    assert {path: plan[path].rank for path in plan} == {"conv2": 3}
    assert {layer.path: layer.reason for layer in plan.skipped}["hidden"] == "by choice"


class _InputChannel(decompositions.Decomposition):
    """`1×1, in → r`, then `kh×kw, r → out`: a second form, to see that the rules choose between forms."""

    name = "input"

    def max_rank(self, shape):
        return min(shape[2], shape[0] * shape[1] * shape[3])

    def factor_shapes(self, shape, rank):
        return FactorShape((1, 1, shape[2], rank), ()), FactorShape((shape[0], shape[1], rank, shape[3]), (0, 1))

    def project(self, kernel, rank, gain=None, **options):
        raise NotImplementedError

    factorize = project

    def spectrum(self, kernel, gain=None):
        scaled = kernel if gain is None else kernel * gain
        return np.linalg.svd(np.moveaxis(scaled, 2, 0).reshape(kernel.shape[2], -1), compute_uv=False)


def test_auto_chooses_the_form_as_well(monkeypatch):
    monkeypatch.setitem(decompositions.DECOMPOSITIONS, "input", _InputChannel())
    inputs = keras.Input((8, 8, 32))
    x = layers.Conv2D(32, 3, padding="same", use_bias=False, name="by_output")(inputs)
    x = layers.Conv2D(32, 3, padding="same", use_bias=False, name="by_input")(x)
    model = keras.Model(inputs, x)
    rng = np.random.default_rng(0)
    low_out = rng.standard_normal((3, 3, 32, 6)) @ rng.standard_normal((6, 32))
    low_in = np.einsum("ir,hwro->hwio", rng.standard_normal((32, 6)), rng.standard_normal((3, 3, 6, 32)))
    model.get_layer("by_output").kernel.assign(low_out)
    model.get_layer("by_input").kernel.assign(low_in)
    for rule in (ranks.MacsBudget(0.4), 0.25):
        plan = lrpet.make_plan(model, rule, decomposition="auto")
        assert {path: plan[path].decomposition for path in plan} == {"by_output": "channel", "by_input": "input"}
    assert plan["by_input"].low_rank_macs <= plan["by_output"].low_rank_macs == oracle_macs(8)
    alone = lrpet.make_plan(model, ranks.MacsBudget(0.4))
    assert {plan.decomposition for plan in alone.layers} == {"channel"}


def oracle_macs(rank):
    return 64 * (9 * 32 * rank + rank * 32)
