"""The page about adapters, followed as a new user would, and adapters of one's own everywhere they may be given."""

import pathlib
import re
import types

import keras
import numpy as np
import pytest
from keras import layers, ops

import lrpet_tf as lrpet
from lrpet_tf import decompositions, errors
from lrpet_tf.adapters import ConvAdapter, DenseAdapter, KernelAdapter, StockLayer, factor_names
from lrpet_tf.costs import calls_by_path, micro_models
from lrpet_tf.graph import read_graph
from tests.oracle import assert_same_outputs, flat_outputs, relative_difference

ROOT = pathlib.Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "adapters.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
EXAMPLE, USE, CHECK, SAVED, INSIDE = BLOCKS


def _example() -> types.SimpleNamespace:
    """The names that the example defines."""
    names = {"__name__": "example"}
    exec(EXAMPLE, names)
    return types.SimpleNamespace(**names)


@pytest.fixture
def example():
    return _example()


@pytest.fixture
def table(example):
    return {example.ScaledDense: example.ScaledDenseAdapter()}


def _model(example, shape=(5, 24)):
    model = keras.Sequential(
        [
            keras.Input(shape),
            example.ScaledDense(32, name="mix"),
            layers.BatchNormalization(name="bn"),
            layers.ReLU(),
            example.ScaledDense(16, name="out"),
        ]
    )
    return _with_values(model)


def _with_values(model):
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.name in ("scale", "bias", "moving_variance"):
            weight.assign(rng.uniform(0.5, 2.0, weight.shape))
    return model


def _data(shape=(5, 24), count=16):
    return np.random.default_rng(1).standard_normal((count, *shape)).astype("float32")


class Block(layers.Layer):
    """A layer made of layers, one of them of the user's own."""

    def __init__(self, make, **kwargs):
        super().__init__(**kwargs)
        self.make = make
        self.inner = make(24, name="inner")

    def build(self, input_shape):
        self.inner.build(input_shape)

    def call(self, inputs):
        return inputs + self.inner(inputs)

    def get_config(self):
        return {**super().get_config(), "make": self.make}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def _block_model(example):
    return _with_values(keras.Sequential([keras.Input((5, 24)), Block(example.ScaledDense, name="block")]))


def test_the_example_is_short():
    lines = EXAMPLE.strip().splitlines()
    assert len(lines) < 40
    assert max(map(len, lines)) <= 128


@pytest.mark.tensorflow
@pytest.mark.slow
def test_the_page_runs_as_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    exec(EXAMPLE, names)
    example = types.SimpleNamespace(**names)
    model, x = _model(example), _data()
    model.compile("adam", "mse")
    reason = next(skipped.reason for skipped in lrpet.make_plan(model, 0.5).skipped if skipped.path == "mix")
    assert f"│ mix │ ScaledDense │ {reason} │" in PAGE
    names |= {"model": model, "x": x, "y": np.zeros((len(x), 5, 16), "float32"), "make_model": lambda: _block_model(example)}
    exec(USE, names)
    assert names["small"].get_layer("mix_factor0").kernel.shape == (24, 12)
    loaded = keras.models.load_model("small.keras")
    assert all(type(layer).__module__.startswith("keras.") for layer in loaded.layers)
    assert_same_outputs(names["small"], loaded, x)
    report = names["report"]
    assert report.reference.macs == 5 * (24 * 32 + 32 * 16)
    assert report.exported.macs == 5 * 12 * (24 + 32) + 5 * 8 * (32 + 16)

    capsys.readouterr()
    exec(CHECK.replace("predict(x)", "predict(x, verbose=0)"), names)
    full, projected, equal = capsys.readouterr().out.strip().splitlines()[-3:]
    assert float(full) < 1e-4 and float(projected) < 1e-4 and equal == "True True"
    exec(SAVED, names)
    assert_same_outputs(model, names["small"], x)

    names["model"] = _block_model(example)
    names["plan"] = lrpet.make_plan(names["model"], 0.25, adapters=names["adapters"])
    lrpet.Projector(names["model"], names["plan"]).project()
    with pytest.warns(UserWarning, match="not of their planned rank"):
        exec(INSIDE, names)
    assert_same_outputs(names["model"], names["fresh"], x)
    assert type(names["fresh"].get_layer("block").inner) is lrpet.layers.FactorChain


@pytest.mark.parametrize("form", ["channel", "tucker2"])
@pytest.mark.parametrize("make", [_model, _block_model])
def test_the_example_keeps_the_contract(example, table, make, form):
    model, x = make(example), _data()
    options = {"keep_if_no_gain": True, "adapters": table, "decomposition": form}
    full = lrpet.factorize(model, lrpet.make_plan(model, 1.0, **options))
    assert_same_outputs(model, full, x)
    plan = lrpet.make_plan(model, 0.25, **options)
    before = flat_outputs(model, x)[0]
    lrpet.Projector(model, plan).project()
    small = lrpet.factorize(model, plan)
    assert_same_outputs(model, small, x)
    assert relative_difference(before, flat_outputs(small, x)[0]) > 1e-3
    assert plan.low_rank_params == lrpet.count_params(small)
    assert plan.low_rank_params == sum(layer.count_params() for layer in small._flatten_layers() if type(layer) is layers.Dense)
    assert plan.low_rank_macs == lrpet.count_macs(small)


def test_counting(example, table):
    model = _model(example)
    plan = lrpet.make_plan(model, 0.5, adapters=table)
    assert lrpet.count_macs(model) == lrpet.count_params(model) == 0
    assert lrpet.count_macs(model, adapters=table) == plan.macs == 5 * (24 * 32 + 32 * 16)
    assert lrpet.count_params(model, adapters=table) == plan.params == 24 * 32 + 2 * 32 + 32 * 16 + 2 * 16


WRONG = {
    "no class": lambda example: {"ScaledDense": example.ScaledDenseAdapter()},
    "no layer": lambda example: {int: example.ScaledDenseAdapter()},
    "a class for an adapter": lambda example: {example.ScaledDense: example.ScaledDenseAdapter},
    "a layer for an adapter": lambda example: {example.ScaledDense: layers.Dense(2)},
    "no table": lambda example: [example.ScaledDenseAdapter()],
    "an adapter alone": lambda example: example.ScaledDenseAdapter(),
}


@pytest.mark.parametrize("make", WRONG.values(), ids=WRONG)
def test_what_is_no_table_of_adapters(example, make):
    model, wrong = _model(example), make(example)
    plan = lrpet.make_plan(model, 0.5)
    calls = [
        lambda: lrpet.make_plan(model, 0.5, adapters=wrong),
        lambda: lrpet.factorize(model, adapters=wrong),
        lambda: lrpet.factorize(model, plan, adapters=wrong),
        lambda: plan.with_adapters(wrong),
        lambda: lrpet.count_macs(model, adapters=wrong),
        lambda: lrpet.count_params(model, adapters=wrong),
        lambda: lrpet.measure_latency(model, adapters=wrong),
        lambda: lrpet.export_tflite(model, "model.tflite", adapters=wrong),
    ]
    for call in calls:
        with pytest.raises(lrpet.LowRankError, match="`adapters` must .*docs/adapters.md"):
            call()


def test_a_layer_without_an_adapter_is_listed(example):
    model = _model(example)
    skipped = {layer.path: layer for layer in lrpet.make_plan(model, 0.5).skipped}
    assert skipped["mix"].reason == "no adapter for layers of type ScaledDense: pass one in `adapters` (docs/adapters.md)"
    with pytest.raises(errors.PatternError, match="`include`.*'mix', no adapter for layers of type ScaledDense"):
        lrpet.make_plan(model, 0.5, include="mix")


@pytest.mark.parametrize("make", [_model, _block_model])
def test_the_callback_trains_a_layer_to_its_rank(example, table, make):
    model, x = make(example), _data()
    model.compile("adam", "mse")
    callback = lrpet.LRPETCallback(rank=0.25, adapters=table)
    model.fit(x, np.zeros_like(model.predict(x, verbose=0)), epochs=2, verbose=0, callbacks=[callback])
    for path, layer in callback.plan.resolve(model).items():
        if path in callback.plan:
            values = np.linalg.svd(ops.convert_to_numpy(layer.kernel), compute_uv=False)
            assert values[callback.plan[path].rank] < 1e-5 * values[0]
    assert_same_outputs(model, lrpet.factorize(model), x)


def test_factorizing_without_a_plan(example, table):
    model, x = _model(example), _data()
    lrpet.Projector(model, lrpet.make_plan(model, 0.25, adapters=table)).project()
    with pytest.raises(errors.NothingToFactorizeError):
        lrpet.factorize(model)
    small = lrpet.factorize(model, adapters=table)
    assert small.get_layer("mix_factor0").units == 6
    assert_same_outputs(model, small, x)


def test_a_saved_plan_needs_its_adapters_again(example, table, tmp_path):
    model, x = _model(example), _data()
    plan = lrpet.make_plan(model, 0.25, adapters=table)
    plan.save(tmp_path / "plan.json")
    loaded = lrpet.Plan.load(tmp_path / "plan.json")
    assert loaded == plan and not loaded.adapters
    for use in (lrpet.factorize, lrpet.Projector, lambda model, plan: plan.resolve(model)):
        with pytest.raises(errors.PlanMismatchError, match=r"'mix'.*ScaledDense.*not saved with a plan.*adapters="):
            use(model, loaded)
    completed = loaded.with_adapters(table)
    assert not loaded.adapters and completed.adapters == table and completed == plan
    lrpet.Projector(model, completed).project()
    assert_same_outputs(model, lrpet.factorize(model, completed), x)
    assert_same_outputs(model, lrpet.factorize(model, loaded, adapters=table), x)
    other = keras.Sequential([keras.Input((24,)), layers.LayerNormalization(name="mix")])
    with pytest.raises(errors.PlanMismatchError, match="another model: no layer of type ScaledDense"):
        lrpet.factorize(other, loaded)


@pytest.mark.tensorflow
@pytest.mark.parametrize("make", [_model, _block_model])
def test_a_budget_of_size(example, table, make):
    model = make(example)
    plan = lrpet.make_plan(model, lrpet.SizeBudget(0.8), adapters=table)
    assert plan.layers
    assert plan.low_rank_params < 0.8 * plan.params


def test_what_is_timed(example, table):
    model = _model(example)
    assert calls_by_path(read_graph(model)) == {}
    graph = read_graph(model, table)
    stock = keras.Sequential([keras.Input((5, 24)), layers.Dense(32, name="mix")])
    assert calls_by_path(graph)["mix"] == calls_by_path(read_graph(stock))["mix"]
    forms = (decompositions.get("channel"),)
    assert {micro.form and micro.rank for micro in micro_models(graph, forms)} > {None, 4}


@pytest.mark.tensorflow
def test_a_budget_of_latency(example, table):
    model = _model(example)
    times = lrpet.measure_latency(model, adapters=table, cache=None, seconds=0.2, verbose=False)
    plan = lrpet.make_plan(model, 0.5, adapters=table)
    assert set(calls_by_path(read_graph(model, table))["mix"]) <= {key.split("/")[0] for key in times.milliseconds}
    assert times.predict(model) > 0
    assert times.predict(model, plan) != times.predict(model)
    lrpet.make_plan(model, lrpet.LatencyBudget(1.0, table=times), adapters=table)


def test_the_search(example, table, tmp_path):
    pytest.importorskip("optuna")
    model, x = _model(example), _data()
    options = {"score": lambda model: 1.0, "verbose": False, "storage": tmp_path / "search.db", "recalibrate_steps": 0}
    for trials in (2, 3):  # the second call goes on, with another instance of the same adapter
        again = {example.ScaledDense: example.ScaledDenseAdapter()}
        result = lrpet.search_ranks(model, (x, x), trials=trials, adapters=again, **options)
        assert len(result.trials) == trials
    assert set(result.members) == {"mix", "out"}


class MirrorConv2D(layers.Conv2D):
    """A convolution that mirrors the image at its border, instead of adding zeros."""

    def call(self, inputs):
        rows, columns = (size // 2 for size in self.kernel_size)
        return super().call(ops.pad(inputs, [(0, 0), (rows, rows), (columns, columns), (0, 0)], mode="reflect"))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)


class Mirror(layers.Layer):
    """Mirrors an image at its border."""

    def __init__(self, rows, columns, **kwargs):
        super().__init__(**kwargs)
        self.rows, self.columns = rows, columns

    def call(self, inputs):
        return ops.pad(inputs, [(0, 0), (self.rows,) * 2, (self.columns,) * 2, (0, 0)], mode="reflect")

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return (batch, height + 2 * self.rows, width + 2 * self.columns, channels)


class MirrorAdapter(ConvAdapter):
    """Layers of no weights stand among the factors."""

    def stock_chain(self, layer, chain, taken=()):
        rows, columns = (size // 2 for size in layer.kernel_size)
        mirror = Mirror(rows, columns, name=f"{layer.name}_mirror", dtype=layer.dtype_policy)
        return [StockLayer(mirror, []), *super().stock_chain(layer, chain, taken)]


class OutIn(layers.Layer):
    """A kernel `(out, in)`."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        self.kernel = self.add_weight(name="kernel", shape=(self.units, input_shape[-1]))

    def call(self, inputs):
        return ops.matmul(inputs, ops.transpose(self.kernel))


class OutInAdapter(KernelAdapter):
    """Another layout."""

    def kernel(self, layer):
        return layer.kernel

    def to_hwio(self, layer, kernel):
        return ops.transpose(kernel)[None, None]

    def from_hwio(self, layer, kernel):
        return ops.transpose(kernel[0, 0])

    def hwio_shape(self, layer):
        return (1, 1, *reversed(layer.kernel.shape))

    def stock_chain(self, layer, chain, taken=()):
        names = factor_names(layer.name, len(chain), taken)
        made = [layers.Dense(factor.kernel.shape[-1], use_bias=False, name=n) for n, factor in zip(names, chain, strict=True)]
        return [StockLayer(each, [factor.kernel[0, 0]]) for each, factor in zip(made, chain, strict=True)]


class Sub(layers.Dense):
    """A subclass that computes what its base does."""


OTHERS = {
    "layers without weights": (lambda **o: MirrorConv2D(16, 3, **o), {MirrorConv2D: MirrorAdapter()}, (9, 9, 8)),
    "another layout": (lambda **o: OutIn(16, **o), {OutIn: OutInAdapter()}, (24,)),
    "the adapter of the base": (lambda **o: Sub(16, activation="relu", **o), {Sub: DenseAdapter()}, (24,)),
}


@pytest.mark.parametrize("inside", [False, True], ids=["alone", "inside"])
@pytest.mark.parametrize(("make", "table", "shape"), OTHERS.values(), ids=OTHERS)
def test_other_adapters_that_the_page_speaks_of(make, table, shape, inside):
    class Holder(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.held = {"one": [make(name="mix")]}

        def build(self, input_shape):
            self.held["one"][0].build(input_shape)

        def call(self, inputs):
            return self.held["one"][0](inputs)

    model = keras.Sequential([keras.Input(shape), Holder(name="holder") if inside else make(name="mix")])
    x = _data(shape)
    full = lrpet.factorize(model, lrpet.make_plan(model, 1.0, keep_if_no_gain=True, adapters=table))
    assert_same_outputs(model, full, x)
    plan = lrpet.make_plan(model, 0.25, adapters=table)
    assert len(plan) == 1
    lrpet.Projector(model, plan).project()
    small = lrpet.factorize(model, plan)
    assert_same_outputs(model, small, x)
    assert (lrpet.count_macs(small), lrpet.count_params(small)) == (plan.low_rank_macs, plan.low_rank_params)


class OutInAdapterOfVectors(OutInAdapter):
    """An adapter that gives what is no matrix."""

    def hwio_shape(self, layer):
        return tuple(layer.kernel.shape)


def test_a_vector_is_no_kernel():
    class Scale(layers.Layer):
        def build(self, input_shape):
            self.kernel = self.add_weight(name="kernel", shape=(input_shape[-1],))

        def call(self, inputs):
            return inputs * self.kernel

    model = keras.Sequential([keras.Input((8,)), Scale(name="scale")])
    plan = lrpet.make_plan(model, 0.5, adapters={Scale: OutInAdapterOfVectors()})
    assert "shape (8,)" in plan.skipped[0].reason


def test_the_batch_norm_that_follows_is_found(example, table):
    assert lrpet.make_plan(_model(example), 0.5, adapters=table)["mix"].batch_norm == "bn"
