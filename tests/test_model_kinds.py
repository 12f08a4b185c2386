"""Models of every kind as users write them, what must come along to the small one, and what cannot."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import lrpet_tf as lrpet
from lrpet_tf import errors
from tests.architectures import TextClassifier, texts
from tests.oracle import relative_difference

IMAGE = (8, 8, 3)


def _images(count=4, shape=IMAGE, seed=0):
    return np.random.default_rng(seed).standard_normal((count, *shape)).astype("float32")


def _call(model, data):
    return [ops.convert_to_numpy(each) for each in keras.tree.flatten(model(data, training=False))]


def _assert_same(model, small, data, tolerance=1e-5):
    for expected, received in zip(_call(model, data), _call(small, data), strict=True):
        assert expected.shape == received.shape
        assert relative_difference(expected, received) < tolerance


def _factorize(model, data, rank=0.5, **options):
    """Projects and factorizes, as after a training, and checks the outputs; returns the small model and the plan."""
    plan = lrpet.make_plan(model, rank, **{"keep_if_no_gain": True} | options)
    lrpet.Projector(model, plan).project()
    small = lrpet.factorize(model, plan)
    _assert_same(model, small, data)
    assert not {id(v) for v in model.variables} & {id(v) for v in small.variables}
    return small, plan


def _small_net(**options):
    inputs = keras.Input((8,))
    x = layers.Dense(16, activation="relu", name="hidden")(inputs)
    return keras.Model(inputs, layers.Dense(4, name="out")(x), **options)


# Kinds of models


def test_dicts_in_and_out_keep_their_keys():
    inputs = {"image": keras.Input(IMAGE, name="image"), "meta": {"age": keras.Input((6,), name="age")}}
    x = layers.Flatten()(layers.Conv2D(12, 3, name="conv")(inputs["image"]))
    x = layers.Concatenate()([x, layers.Dense(8, name="embed")(inputs["meta"]["age"])])
    model = keras.Model(inputs, {"score": layers.Dense(6, name="score")(x), "more": [layers.Dense(5, name="aux")(x)]})
    data = {"image": _images(), "meta": {"age": _images(shape=(6,))}}
    small, plan = _factorize(model, data)
    assert set(plan) == {"conv", "embed", "score", "aux"}
    outputs = small(data)
    assert set(outputs) == {"score", "more"} and outputs["score"].shape == (4, 6) and outputs["more"][0].shape == (4, 5)


class AddWhatIsThere(layers.Layer):
    def call(self, x, y=None):
        return x if y is None else x + y

    def compute_output_shape(self, x_shape, y_shape=None):
        return x_shape


def test_optional_inputs_may_still_be_left_out():
    first, second = keras.Input((8,), name="first"), keras.Input((16,), name="second", optional=True)
    x = AddWhatIsThere()(layers.Dense(16, name="dense")(first), second)
    model = keras.Model({"first": first, "second": second}, layers.Dense(4, name="out")(x))
    both = {"first": _images(shape=(8,)), "second": _images(shape=(16,), seed=1)}
    small, _ = _factorize(model, both)
    without = {"first": both["first"], "second": None}
    _assert_same(model, small, without)
    assert relative_difference(_call(small, both)[0], _call(small, without)[0]) > 1e-2


def test_shared_and_nested_submodels_are_factorized_once():
    encoder = keras.Sequential([keras.Input((8,)), layers.Dense(16, name="a"), layers.Dense(8, name="b")], name="encoder")
    left, right = keras.Input((8,)), keras.Input((8,))
    tower = keras.Model(left, encoder(encoder(left)), name="tower")
    model = keras.Model([left, right], layers.Dot(1)([tower(left), encoder(right)]))
    small, plan = _factorize(model, [_images(shape=(8,)), _images(shape=(8,), seed=1)])
    assert set(plan) == {"tower/encoder/a", "tower/encoder/b"}
    assert small.get_layer("tower").get_layer("encoder") is small.get_layer("encoder")
    assert lrpet.count_params(small) == 8 * 4 + 4 * 16 + 16 + 16 * 4 + 4 * 8 + 8
    assert lrpet.count_macs(small) == 3 * (8 * 4 + 4 * 16 + 16 * 4 + 4 * 8)


def test_preprocessing_inside_keeps_statistics_and_seeds():
    normalization = layers.Normalization(axis=-1)
    normalization.adapt(3 + 2 * _images(20))
    parts = [
        keras.Input(IMAGE),
        layers.Rescaling(1 / 2, offset=0.1),
        normalization,
        layers.RandomFlip(seed=3),
        layers.Conv2D(12, 3, name="conv"),
        layers.Dropout(0.5, seed=4),
        layers.Flatten(),
        layers.Dense(5, name="out"),
    ]
    model = keras.Sequential(parts)
    data = _images(8)
    for _ in range(3):
        model(data, training=True)  # the states of the seeds move on
    small, _ = _factorize(model, data)
    states = [np.array(v) for v in model.variables if "seed" in v.path]
    assert len(states) == 2 and any(np.any(state != [[3, 0], [4, 0]][index]) for index, state in enumerate(states))
    for old, new in zip(states, [np.array(v) for v in small.variables if "seed" in v.path], strict=True):
        np.testing.assert_array_equal(old, new)
    for _ in range(2):  # the same flips and the same units dropped
        expected, received = (ops.convert_to_numpy(which(data, training=True)) for which in (model, small))
        assert relative_difference(expected, received) < 1e-5
        assert relative_difference(_call(model, data)[0], expected) > 1e-2


@pytest.mark.tensorflow
def test_text_vectorization_keeps_its_vocabulary():
    import tensorflow as tf

    vectorization = layers.TextVectorization(output_sequence_length=5)
    vectorization.adapt(["the cat sat", "the dog ran on the mat"])
    inputs = keras.Input((), dtype="string")
    x = layers.Embedding(vectorization.vocabulary_size(), 8, mask_zero=True, name="words")(vectorization(inputs))
    model = keras.Model(inputs, layers.Dense(3, name="out")(layers.GlobalAveragePooling1D()(x)))
    small, plan = _factorize(model, tf.constant(["the cat ran", "a dog", "mat on mat"]))
    assert set(plan) == {"words", "out"}
    copied = next(layer for layer in small.layers if isinstance(layer, layers.TextVectorization))
    assert copied is not vectorization and copied.get_vocabulary() == vectorization.get_vocabulary()


# Functional models of a class of one's own


class Noting(keras.Model):
    """A training step of one's own, with a metric of its own and all sorts of attributes."""

    def train_step(self, data):
        x, y = data
        self.noted.update_state(ops.mean(ops.abs(self.augment(x, training=True) - x)))
        return {**super().train_step((x, y)), "noted": self.noted.result()}


@pytest.mark.tensorflow  # the arguments of train_step are others elsewhere
def test_a_training_step_of_ones_own_is_used_and_its_attributes_come_along():
    plain = _small_net()
    model = Noting(plain.input, plain.output)
    model.noted = keras.metrics.Mean(name="noted")
    model.augment = layers.Dropout(0.5, seed=7)  # no part of the graph
    model.marker, model.steps = {"tag": ["a", 1]}, 17
    model.first = model.get_layer("hidden")
    model.seed = keras.random.SeedGenerator(5)
    model.seed.next()
    model.inner_optimizer = keras.optimizers.SGD(0.25, momentum=0.5)
    data = _images(32, (8,)), _images(32, (4,), seed=1)
    model.compile("adam", "mse", jit_compile=False)
    model.fit(*data, verbose=0)
    small, _ = _factorize(model, data[0])
    assert type(small) is Noting
    assert small.marker == {"tag": ["a", 1]} and small.steps == 17
    for name in ("noted", "augment", "first", "seed", "inner_optimizer"):
        assert getattr(small, name) is not getattr(model, name)
    np.testing.assert_array_equal(np.array(small.seed.state), np.array(model.seed.state))
    assert small.inner_optimizer.momentum == 0.5 and float(small.inner_optimizer.learning_rate) == 0.25
    # A layer that has become a chain is a model of that chain.
    assert relative_difference(_call(model.first, data[0])[0], _call(small.first, data[0])[0]) < 1e-5
    before = float(model.noted.result())
    history = small.fit(*data, epochs=1, verbose=0).history
    assert 0.1 < history["noted"][0] < 2
    assert float(model.noted.result()) == before


class Distiller(keras.Model):
    """A student with a graph, and a teacher beside it."""

    def __init__(self, student, teacher):
        super().__init__(student.input, student.output)
        self.student, self.teacher, self.temperature = student, teacher, 3.0

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return ops.mean((ops.softmax(self.teacher(x) / self.temperature) - ops.softmax(y_pred / self.temperature)) ** 2)


def test_a_teacher_beside_the_graph_comes_along_whole():
    student, teacher = _small_net(name="student"), _small_net(name="teacher")
    model = Distiller(student, teacher)
    x, y = _images(32, (8,)), _images(32, (4,))
    model.compile(keras.optimizers.SGD(0.5), jit_compile=False)
    small, _ = _factorize(model, x)
    for old, new in zip(teacher.get_weights(), small.teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert small.teacher is not teacher and small.temperature == 3.0
    assert small.evaluate(x, y, verbose=0) == pytest.approx(model.evaluate(x, y, verbose=0), rel=1e-4)
    losses = small.fit(x, y, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


# What is compiled


def _my_loss(y, p):
    return ops.mean(ops.abs(y - p), axis=-1) * 2


def test_what_is_compiled_comes_along_and_is_not_shared():
    model = _small_net()
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    optimizer = keras.optimizers.SGD(schedule, momentum=0.8, nesterov=True, clipnorm=2.0, weight_decay=1e-3)
    metric = keras.metrics.MeanAbsoluteError(name="mine")
    options = {"loss_weights": [0.5], "steps_per_execution": 2, "run_eagerly": False, "jit_compile": False}
    model.compile(optimizer, [_my_loss], metrics=[[metric, "mse"]], weighted_metrics=[["mae"]], **options)
    x, y = _images(32, (8,)), _images(32, (4,), seed=1)
    model.fit(x, y, batch_size=8, epochs=2, verbose=0)
    small, _ = _factorize(model, x)
    assert type(small.optimizer) is keras.optimizers.SGD and small.optimizer is not optimizer
    assert small.optimizer.get_config() == optimizer.get_config()
    assert int(small.optimizer.iterations) == 0 and int(optimizer.iterations) == 8
    assert (small.steps_per_execution, small.jit_compile, small.run_eagerly) == (2, False, False)
    expected, received = (which.evaluate(x, y, verbose=0, return_dict=True) for which in (model, small))
    assert expected.keys() == received.keys() == {"loss", "mine", "mse", "mae"}
    assert expected == pytest.approx(received, rel=1e-5)
    assert received["loss"] == pytest.approx(np.mean(np.abs(y - _call(small, x)[0])), rel=1e-5)
    before, weights = float(metric.result()), model.get_weights()
    small.fit(x, y, batch_size=8, verbose=0)
    assert float(metric.result()) == before and int(optimizer.iterations) == 8
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_learning_rate_that_was_set_later_is_the_one_carried():
    model = _small_net()
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    model.optimizer.learning_rate = 3e-4
    small, _ = _factorize(model, _images(4, (8,)))
    assert float(small.optimizer.learning_rate) == pytest.approx(3e-4)
    small.optimizer.learning_rate = 1.0
    assert float(model.optimizer.learning_rate) == pytest.approx(3e-4)


def test_what_was_not_compiled_is_not_compiled():
    small, _ = _factorize(_small_net(), _images(4, (8,)))
    assert not small.compiled


def test_losses_and_metrics_by_output_come_along():
    inputs = keras.Input((8,))
    model = keras.Model(inputs, {"a": layers.Dense(4, name="a")(inputs), "b": layers.Dense(6, name="b")(inputs)})
    model.compile("sgd", {"a": "mse", "b": "mae"}, loss_weights={"a": 2.0, "b": 0.5}, metrics={"b": ["mse"]})
    x, y = _images(16, (8,)), {"a": _images(16, (4,)), "b": _images(16, (6,))}
    small, _ = _factorize(model, x)
    a, b = (ops.convert_to_numpy(small(x)[key]) for key in "ab")
    received = small.evaluate(x, y, verbose=0, return_dict=True)
    assert received["loss"] == pytest.approx(2 * np.mean((a - y["a"]) ** 2) + 0.5 * np.mean(abs(b - y["b"])), rel=1e-4)
    assert received["b_mse"] == pytest.approx(np.mean((b - y["b"]) ** 2), rel=1e-4)


def test_names_lead_to_the_last_layer_of_a_chain_and_other_weights_are_equal_to_the_bit():
    model = _small_net()
    small, plan = _factorize(model, _images(4, (8,)), include="hidden")
    assert set(plan) == {"hidden"}
    assert small.get_layer("hidden").units == 16 and small.get_layer("hidden_factor0").units == 4
    np.testing.assert_array_equal(np.array(small.get_layer("hidden").bias), np.array(model.get_layer("hidden").bias))
    for old, new in zip(model.get_layer("out").get_weights(), small.get_layer("out").get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


# Subclassed models


class ConvBlock(layers.Layer):
    """Without a get_config; its arguments are simple, so Keras notes them."""

    def __init__(self, filters, slope=0.2):
        super().__init__()
        self.slope = slope
        self.conv = layers.Conv2D(filters, 3, padding="same", use_bias=False)
        self.bn = layers.BatchNormalization()

    def call(self, x, training=None):
        return ops.leaky_relu(self.bn(self.conv(x), training=training), negative_slope=self.slope)


class Pictures(keras.Model):
    """Layers in a list, in a dict and in a tuple, a nested Functional backbone, and no get_config."""

    def __init__(self):
        super().__init__()
        inputs = keras.Input(IMAGE)
        self.backbone = keras.Model(inputs, layers.Conv2D(12, 3, padding="same", name="conv")(inputs), name="backbone")
        self.blocks = [ConvBlock(12), ConvBlock(12, slope=0.3)]
        self.heads = {"class": layers.Dense(5, name="class"), "side": [layers.Dense(6, name="side")]}
        self.pair = (layers.Dense(16, activation="tanh", name="left"), layers.Dense(16, name="right"))
        self.drop = layers.Dropout(0.5, seed=3)

    def call(self, x, training=None):
        x = self.backbone(x)
        for block in self.blocks:
            x = block(x, training=training)
        x = ops.mean(x, axis=(1, 2))
        x = self.pair[0](x) * self.pair[1](x)
        x = self.drop(x, training=training)
        return {"class": self.heads["class"](x), "side": self.heads["side"][0](x)}


def _pictures():
    model = Pictures()
    model(_images())
    for layer in model._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            layer.moving_variance.assign(np.random.default_rng(1).uniform(0.5, 2.0, layer.moving_variance.shape))
    return model


def test_a_subclassed_model_of_lists_dicts_and_a_backbone():
    model, data = _pictures(), _images()
    before = [np.array(v) for v in model.variables]
    types = [type(layer) for layer in model._flatten_layers()]
    small, plan = _factorize(model, data)
    assert set(plan) == {
        "backbone/conv", "conv_block/conv2d", "conv_block_1/conv2d_1", "class", "side", "left", "right",
    }  # fmt: skip
    assert plan["conv_block/conv2d"].batch_norm == "conv_block/batch_normalization"
    assert type(small) is Pictures and small is not model
    assert isinstance(small.blocks[0].conv, lrpet.layers.LowRankConv2D)
    assert isinstance(small.heads["class"], lrpet.layers.LowRankDense)
    assert isinstance(small.heads["side"][0], lrpet.layers.LowRankDense)
    assert isinstance(small.pair[0], lrpet.layers.LowRankDense)
    assert small.backbone.get_layer("conv_factor0").filters == 6
    assert small.blocks[1].slope == 0.3
    assert lrpet.count_macs(small) == plan.low_rank_macs < lrpet.count_macs(model)
    assert len(small.trainable_variables) == len(model.trainable_variables) + len(plan)
    # The source is as it was: its layers and, but for the projection, its weights.
    assert [type(layer) for layer in model._flatten_layers()] == types
    unplanned = [index for index, v in enumerate(model.variables) if "kernel" not in v.path]
    for index in unplanned:
        np.testing.assert_array_equal(before[index], np.array(model.variables[index]))
    expected, received = (ops.convert_to_numpy(which(data, training=True)["class"]) for which in (model, small))
    assert relative_difference(expected, received) < 1e-5  # the seed of the dropout came along


def test_weights_of_a_small_subclassed_model_are_saved_and_loaded(tmp_path):
    model, data = _pictures(), _images()
    small, plan = _factorize(model, data)
    small.compile("sgd", {"class": "mse", "side": "mse"}, jit_compile=False)
    small.fit(data, {"class": _images(4, (5,)), "side": _images(4, (6,))}, verbose=0)
    small.save_weights(tmp_path / "small.weights.h5")
    plan.save(tmp_path / "plan.json")
    keras.utils.clear_session(free_memory=False)  # names are counted anew, as in a new process
    fresh = Pictures()
    fresh(data)
    with pytest.warns(UserWarning, match="not of their planned rank"):
        again = lrpet.factorize(fresh, lrpet.Plan.load(tmp_path / "plan.json"))
    assert relative_difference(_call(small, data)[0], _call(again, data)[0]) > 1e-2
    again.load_weights(tmp_path / "small.weights.h5")
    _assert_same(small, again, data, tolerance=1e-6)


def test_a_subclassed_model_inside_a_functional_one():
    inputs = keras.Input(IMAGE)
    inner = _pictures()
    outputs = layers.Dense(3, name="last")(inner(inputs)["class"])
    model = keras.Model(inputs, outputs)
    small, plan = _factorize(model, _images())
    assert {"pictures/backbone/conv", "pictures/conv_block/conv2d", "pictures/left", "last"} <= set(plan)
    assert isinstance(small.get_layer("pictures").blocks[0].conv, lrpet.layers.LowRankConv2D)
    assert small.get_layer("last_factor0").units == 1


class Recurrent(keras.Model):
    def __init__(self):
        super().__init__()
        self.lstm = layers.LSTM(8, name="lstm")
        self.rnn = layers.Bidirectional(layers.GRU(8), name="both")
        self.out = layers.Dense(8, name="out")

    def call(self, x):
        return self.out(self.lstm(x) + self.rnn(x)[:, :8])


class Contrasting(Recurrent):
    """A subclassed model whose `compile` takes other arguments, as those of the Keras examples do."""

    def compile(self, far_loss, weight, **kwargs):
        super().compile(**kwargs)
        self.far_loss, self.weight = far_loss, weight
        self.side_optimizer = keras.optimizers.Adam(0.125)
        self.tracker = keras.metrics.Mean(name="far")

    def train_step(self, data):
        x, y = data
        self.tracker.update_state(self.weight * self.far_loss(y, self(x)))
        return {**super().train_step(data), "far": self.tracker.result()}


@pytest.mark.tensorflow  # the arguments of train_step are others elsewhere
def test_what_a_compile_of_ones_own_leaves_on_a_subclassed_model_comes_along():
    model, x = Contrasting(), _images(8, (5, 8))
    y = _images(8, (8,), seed=1)
    model.compile(far_loss=keras.losses.MeanAbsoluteError(), weight=4.0, optimizer="sgd", loss="mse", jit_compile=False)
    model.fit(x, y, verbose=0)
    model.alias, model.kept = model.out, model.lstm
    small, _ = _factorize(model, x)
    assert small.alias is small.out and isinstance(small.out, lrpet.layers.LowRankDense)
    assert small.kept is small.lstm and small.kept is not model.lstm
    assert small.side_optimizer is not model.side_optimizer and float(small.side_optimizer.learning_rate) == 0.125
    assert not hasattr(small, "history")
    far = 4 * np.mean(np.abs(y - _call(small, x)[0]))
    before = float(model.tracker.result())
    assert small.fit(x, y, batch_size=8, verbose=0).history["far"][0] == pytest.approx(far, rel=1e-4)
    assert float(model.tracker.result()) == before


class Twice(keras.Model):
    """One layer in two blocks, which are made of layers."""

    def __init__(self):
        super().__init__()
        shared = layers.Dense(8, name="shared")
        self.one, self.two = Around(shared, name="one"), Around(shared, name="two")
        self.out = layers.Dense(8, name="out")

    def call(self, x):
        return self.out(self.two(self.one(x)))


class Around(layers.Layer):
    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner

    def call(self, x):
        return ops.tanh(self.inner(x))


@pytest.mark.filterwarnings("error:Weights that are tied")
def test_a_layer_in_two_blocks_of_a_subclassed_model():
    model, data = Twice(), _images(4, (8,))
    model(data)
    small, plan = _factorize(model, data)
    assert set(plan) == {"out"}
    (skipped,) = (layer for layer in plan.skipped if layer.path == "one/shared")
    assert skipped.reason == "it is shared between layers that are made of layers"
    assert small.one.inner is small.two.inner is not model.one.inner


class Around2(Around):
    def get_config(self):
        return {**super(Around, self).get_config(), "inner": keras.saving.serialize_keras_object(self.inner)}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "inner": keras.saving.deserialize_keras_object(config["inner"])})


def test_a_layer_in_two_blocks_of_a_functional_model_is_one_afterwards():
    inputs, shared = keras.Input((8,)), layers.Dense(8, name="shared")
    x = Around2(shared, name="two")(Around2(shared, name="one")(inputs))
    model, data = keras.Model(inputs, layers.Dense(8, name="out")(x)), _images(4, (8,))
    small, plan = _factorize(model, data)
    assert set(plan) == {"out"}
    one, two = (small.get_layer(name).inner for name in ("one", "two"))
    assert one is two and one is not shared
    np.testing.assert_array_equal(np.array(one.kernel), np.array(shared.kernel))


class Choosing(keras.Model):
    """Keras does not note the arguments of models: a copy made by the class alone would be another one."""

    def __init__(self, activation="relu", rate=0.1, scale=1.0):
        super().__init__()
        self.scale = scale
        self.dense = layers.Dense(16, activation=activation, name="dense")
        self.drop = layers.Dropout(rate)
        self.out = layers.Dense(4, name="out")

    def call(self, x, training=None):
        return self.scale * self.out(self.drop(self.dense(x), training=training))


def _chosen(**options):
    model = Choosing(**options)
    model(_images(2, (8,)))
    return model


def test_plain_attributes_of_a_subclassed_model_come_along():
    model = _chosen(scale=3.0)
    model.note = ["set", "later"]
    small, _ = _factorize(model, _images(4, (8,)))
    assert small.scale == 3.0 and small.note == ["set", "later"]


@pytest.mark.filterwarnings("ignore:.*not of their planned rank")
@pytest.mark.parametrize("options", [{"activation": "tanh"}, {"rate": 0.5}])
def test_arguments_that_no_configuration_tells_come_along(options):
    model = _chosen(**options)
    plan = lrpet.make_plan(model, 0.5)
    lrpet.Projector(model, plan).project()
    data = _images(4, (8,))
    assert relative_difference(*(np.array(each(data)) for each in (model, lrpet.factorize(model, plan)))) < 1e-5


class Wrapping(keras.Model):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def call(self, x):
        return self.inner(x)


@pytest.mark.filterwarnings("ignore:.*not of their planned rank")
def test_a_class_that_takes_layers_is_copied():
    model = Wrapping(layers.Dense(16, name="dense"))
    data = _images(2, (8,))
    model(data)
    small = lrpet.factorize(model, lrpet.make_plan(model, 1.0, keep_if_no_gain=True))
    assert type(small.inner) is lrpet.layers.LowRankDense and type(model.inner) is layers.Dense
    assert relative_difference(np.array(model(data)), np.array(small(data))) < 1e-5


class Forgetful(keras.Model):
    def __init__(self, activation="relu", **options):
        super().__init__(**options)
        self.dense = layers.Dense(16, activation=activation)

    def call(self, x):
        return self.dense(x)

    def get_config(self):
        return {"name": self.name}


@pytest.mark.filterwarnings("ignore:.*not of their planned rank")
def test_a_configuration_that_forgets_an_argument_is_an_error_and_not_another_model():
    model = Forgetful("tanh")
    model(_images(2, (8,)))
    with pytest.raises(errors.LowRankError, match="another Dense in the place of 'dense.*'.*get_config"):
        lrpet.factorize(model, lrpet.make_plan(model, 0.5, exclude=".*"))


def test_a_subclassed_model_that_is_not_built_says_so():
    with pytest.raises(errors.UnsupportedModelError, match="not built.*call it once"):
        lrpet.make_plan(Pictures(), 0.5)


def test_what_cannot_be_replaced_inside_code_is_listed_and_an_error_where_it_is_named():
    model, data = Recurrent(), _images(4, (5, 8))
    model(data)
    small, plan = _factorize(model, data)
    assert set(plan) == {"out"}
    skipped = {layer.path: layer.reason for layer in plan.skipped}
    assert "inside another layer" in skipped["lstm"] and "inside another layer" in skipped["both"]
    np.testing.assert_array_equal(np.array(model.lstm.cell.kernel), np.array(small.lstm.cell.kernel))
    with pytest.raises(errors.PatternError, match="'lstm'.*cannot be factorized.*inside another layer"):
        lrpet.make_plan(model, 0.5, include="lstm")
    with pytest.raises(errors.PatternError, match="'both'.*cannot be factorized"):
        lrpet.make_plan(model, {"out": 0.5, "both": 0.5})


def test_masks_reach_the_layers_behind_a_chain():
    tokens, _ = texts(6)
    model = TextClassifier(60, tokens.shape[1])
    model(tokens)
    small, _ = _factorize(model, tokens)
    masked, moved = tokens.copy(), tokens.copy()
    moved[:, -1] = 59  # a word where there was padding: it counts
    assert relative_difference(_call(small, masked)[0], _call(small, moved)[0]) > 1e-3
    _assert_same(model, small, moved)


class Mixed(keras.Model):
    """Pictures and words together: inputs of two types."""

    def __init__(self):
        super().__init__()
        self.words = layers.Embedding(20, 8, name="words")
        self.dense = layers.Dense(16, name="dense")

    def call(self, inputs):
        one_hot = ops.one_hot(inputs["kind"], 4)
        x = ops.concatenate([ops.mean(self.words(inputs["tokens"]), axis=1), inputs["values"], one_hot], axis=-1)
        return self.dense(x)


def test_inputs_of_two_types():
    rng = np.random.default_rng(0)
    data = {"tokens": rng.integers(0, 20, (4, 5)), "values": _images(4, (6,)), "kind": rng.integers(0, 4, (4,))}
    model = Mixed()
    model(data)
    _, plan = _factorize(model, data)
    assert set(plan) == {"words", "dense"}


# Input that goes wrong


def test_a_lambda_is_kept_and_loads_without_safe_mode_alone(tmp_path):
    inputs = keras.Input((8,))
    x = layers.Lambda(lambda x: x * 2.0, name="twice")(layers.Dense(16, name="dense")(inputs))
    model = keras.Model(inputs, layers.Dense(4, name="out")(x))
    data = _images(4, (8,))
    small, _ = _factorize(model, data)
    small.save(tmp_path / "small.keras")
    with pytest.raises(ValueError, match="safe_mode|unsafe"):
        keras.models.load_model(tmp_path / "small.keras")
    _assert_same(small, keras.models.load_model(tmp_path / "small.keras", safe_mode=False), data, tolerance=1e-6)


class Tied(layers.Layer):
    """Reads the table of an Embedding backwards, as language models do."""

    def __init__(self, table, **kwargs):
        super().__init__(**kwargs)
        self.table = table

    def call(self, x):
        return ops.matmul(x, ops.transpose(self.table.embeddings))

    def get_config(self):
        return {**super().get_config(), "table": keras.saving.serialize_keras_object(self.table)}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "table": keras.saving.deserialize_keras_object(config["table"])})


def test_tied_kernels_are_skipped_with_a_reason_and_separate_afterwards():
    first, second, third = (layers.Dense(8, name=name) for name in ("first", "second", "third"))
    inputs = keras.Input((8,))
    x = second(first(inputs))
    second._tracker.unlock()
    for name, weight in (("_kernel", first.kernel), ("bias", second.bias)):  # in the order of a layer that is not tied
        second._untrack_variable(getattr(second, name))
        setattr(second, name, weight)
    second._tracker.lock()
    model = keras.Model(inputs, third(x))
    plan = lrpet.make_plan(model, 0.5, keep_if_no_gain=True)
    assert set(plan) == {"third"}
    reasons = {layer.path: layer.reason for layer in plan.skipped}
    assert reasons == {
        "first": "its weights are tied to those of 'second'", "second": "its weights are tied to those of 'first'",
    }  # fmt: skip
    with pytest.raises(errors.PatternError, match="tied to those of 'first'"):
        lrpet.make_plan(model, 0.5, include="second")
    lrpet.Projector(model, plan).project()
    with pytest.warns(UserWarning, match="separate.*'first' and 'second'"):
        small = lrpet.factorize(model, plan)
    _assert_same(model, small, _images(4, (8,)))
    small.get_layer("first").kernel.assign(ops.zeros((8, 8)))
    np.testing.assert_array_equal(np.array(small.get_layer("second").kernel), np.array(first.kernel))


def test_an_embedding_that_another_layer_reads_is_not_factorized_away():
    inputs = keras.Input((5,), dtype="int32")
    table = layers.Embedding(20, 16, name="table")
    x = layers.Dense(16, name="dense")(table(inputs))
    model = keras.Model(inputs, Tied(table, name="tied")(x))
    data = np.random.default_rng(0).integers(0, 20, (4, 5))
    plan = lrpet.make_plan(model, 0.5, keep_if_no_gain=True)
    assert set(plan) == {"dense"}
    assert "tied" in {layer.path: layer.reason for layer in plan.skipped}["table"]
    lrpet.Projector(model, plan).project()
    small = lrpet.factorize(model, plan)
    assert small.get_layer("tied").table is small.get_layer("table") is not table
    _assert_same(model, small, data)


@pytest.mark.parametrize("units", [(1, 16), (16, 1), (1, 1)])
def test_kernels_of_one_channel(units):
    first, second = units
    inputs = keras.Input((8, 8, first))
    model = keras.Model(inputs, layers.Conv2D(second, 3, name="conv")(inputs))
    data = _images(4, (8, 8, first))
    small, plan = _factorize(model, data, rank=1)
    assert plan["conv"].rank == 1 and small.get_layer("conv_factor0").filters == 1
    assert not lrpet.make_plan(model, 1.0).layers  # nothing to be gained at full rank


def test_a_kernel_of_size_zero_is_listed_and_the_rest_is_factorized():
    inputs = keras.Input((0,)), keras.Input((8,))
    x = layers.Concatenate()([layers.Dense(8, name="empty")(inputs[0]), layers.Dense(8, name="full")(inputs[1])])
    model = keras.Model(inputs, x)
    small, plan = _factorize(model, [np.zeros((4, 0), "float32"), _images(4, (8,))])
    assert set(plan) == {"full"}
    assert "empty" in {layer.path: layer.reason for layer in plan.skipped}["empty"]
    assert small.get_layer("empty").kernel.shape == (0, 8)
