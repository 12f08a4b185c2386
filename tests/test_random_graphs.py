"""Random graphs, nested and shared, rewritten at full rank: the outputs are the same, and nothing else has changed."""

import contextlib
import os
import re
import warnings

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, reject, settings
from hypothesis import strategies as st
from keras import layers

import lrpet_tf as lrpet
from lrpet_tf.graph import read_graph
from lrpet_tf.layers import LowRankConv2D, LowRankDense
from tests.graphs import Builder
from tests.oracle import set_batch_norm_statistics

pytestmark = pytest.mark.tensorflow
# In float64 rounding is far below what any fault of ours would be, however much a graph magnifies it.
DTYPE, TOLERANCE = "float64", 1e-8
# LRPET_GRAPHS=3000 draws so many others, anew each time.
EXAMPLES = int(os.environ.get("LRPET_GRAPHS", "100"))
SAME_EACH_TIME = "LRPET_GRAPHS" not in os.environ
FAMILIES = (
    layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose,
    layers.SeparableConv1D, layers.SeparableConv2D, layers.Dense, layers.EinsumDense, layers.Embedding,
    layers.LSTM, layers.GRU, layers.SimpleRNN, layers.Bidirectional,
)  # fmt: skip
LEFT_WHOLE = (layers.RNN, layers.Bidirectional, LowRankConv2D, LowRankDense)  # what is inside is theirs
REBUILT = (layers.MultiHeadAttention, layers.GroupQueryAttention)
REASONS = (
    "depthwise|a chain of factors already|inside another layer is left|between layers that are made of layers|is no matrix|"
    "query and its gate|its output has several axes|one width|as wide as the query|its rank is that of|which makes its layers"
)
SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example)
FORMS = ("channel", "input_channel", "spatial", "tucker2", "auto")


@contextlib.contextmanager
def _precision(dtype):
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)
    try:
        yield
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_dtype_policy(before[1])


def _set_weights(model):
    """Gives all weights values such as training leaves: none zero, no two alike."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.name in ("bias", "alpha", "gamma", "beta"):
            weight.assign(rng.uniform(0.1, 0.4, weight.shape))
    set_batch_norm_statistics(model)


def _state(model):
    return [keras.ops.convert_to_numpy(variable) for variable in model.variables]


def _config(model):
    try:
        return model.to_json()
    except NotImplementedError:
        return None


def _outputs(model, data):
    return [keras.ops.convert_to_numpy(each) for each in keras.tree.flatten(model(data))]


def _assert_same(expected, received):
    assert len(expected) == len(received)
    for one, other in zip(expected, received, strict=True):
        assert one.shape == other.shape and one.dtype == other.dtype
        scale = max(np.max(np.abs(one)), 1e-6)
        assert np.max(np.abs(one - other)) <= TOLERANCE * scale


def _summary(model):
    lines = []
    model.summary(print_fn=lambda line, line_break=None: lines.append(line), expand_nested=True, line_length=120)
    return "\n".join(lines)


@contextlib.contextmanager
def _told(model):
    """Tells of what the model is made where it fails."""
    try:
        yield
    except Exception:
        note(_summary(model))
        raise


def draw(builder):
    """Returns a model, inputs for it, and its outputs; what Keras itself cannot make or run is drawn again."""
    try:
        model, data = builder.model()
        _set_weights(model)
        return model, data, _outputs(model, data)
    except Exception:
        reject()


def check(model, data, expected, form):
    before, config = _state(model), _config(model)
    plan = lrpet.make_plan(model, 1.0, keep_if_no_gain=True, decomposition=form)
    small = lrpet.factorize(model, plan)
    _assert_same(expected, _outputs(small, data))
    _check_plan(model, small, plan)
    _check_untouched(model, small, plan)
    for variable in small.variables:
        variable.assign(keras.ops.ones_like(variable))
    for old, new in zip(before, _state(model), strict=True):
        np.testing.assert_array_equal(old, new)
    assert _config(model) == config
    assert not {id(each) for each in model.variables} & {id(each) for each in small.variables}
    inside = [{id(layer) for layer in each._flatten_layers()} for each in (model, small)]
    assert not inside[0] & inside[1]


def _check_plan(model, small, plan):
    """Every layer that holds a matrix of weights is planned, or left for a reason that is known, and the cost is as told."""
    paths = {id(layer): path for path, layer in read_graph(model).layers().items()}
    skipped = {layer.path: layer.reason for layer in plan.skipped}
    inside = {id(part) for layer in model._flatten_layers() if isinstance(layer, LEFT_WHOLE) for part in _inside(layer)}
    for layer in model._flatten_layers():
        if not isinstance(layer, FAMILIES) or id(layer) in inside:
            continue
        path = paths[id(layer)]
        assert path in plan or re.search(REASONS, skipped[path]), (path, skipped[path])
    if plan.low_rank_macs is not None:
        assert lrpet.count_macs(small) == plan.low_rank_macs
    assert lrpet.count_params(small) == plan.low_rank_params


def _check_untouched(model, small, plan):
    """The layers that are left are of the same type and have the same weights, to the bit."""
    copies, found = read_graph(small).layers(), read_graph(model).layers()
    rebuilt = tuple(f"{path}/" for path, layer in found.items() if isinstance(layer, REBUILT) and _has_planned(path, plan))
    for path, layer in found.items():
        if path in plan or not isinstance(layer, layers.Layer) or type(layer).__module__.startswith("lrpet_tf"):
            continue
        if _has_planned(path, plan) or path.startswith(rebuilt):
            continue
        assert type(layer) is type(copies[path])
        for old, new in zip(layer.variables, copies[path].variables, strict=True):
            np.testing.assert_array_equal(keras.ops.convert_to_numpy(old), keras.ops.convert_to_numpy(new))


def _inside(layer):
    return list(layer._flatten_layers(include_self=False))


def _has_planned(path, plan):
    return any(planned.startswith(f"{path}/") for planned in plan)


@settings(
    max_examples=EXAMPLES, deadline=None, derandomize=SAME_EACH_TIME, database=None, suppress_health_check=list(HealthCheck)
)
@given(st.data())
def test_random_graphs_at_full_rank(data):
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
    with _precision(DTYPE), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, inputs, expected = draw(Builder(lambda strategy: data.draw(strategy)))
        with _told(model):
            check(model, inputs, expected, data.draw(st.sampled_from(FORMS)))
