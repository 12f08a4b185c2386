import keras
import pytest
from keras import layers

import lrpet_tf as lrpet
from examples.cifar10.models import resnet
from lrpet_tf.layers import LowRankConv2D, LowRankDense


def test_published_counts_of_resnet56():
    model = resnet(56)
    assert f"{lrpet.count_macs(model) / 1e6:.2f}" == "125.49"


@pytest.mark.parametrize(
    ("share", "millions", "saved"), [(0.20, "26.23", "79.10"), (0.43, "56.06", "55.33"), (0.30, "38.57", "69.26")]
)
def test_published_counts_of_factorized_resnet56(share, millions, saved):
    model = resnet(56)
    plan = lrpet.make_plan(model, share, exclude="logits", keep_if_no_gain=True)
    assert f"{plan.low_rank_macs / 1e6:.2f}" == millions
    assert f"{100 * (1 - plan.low_rank_macs / plan.macs):.2f}" == saved
    small = lrpet.factorize(model, plan)
    assert lrpet.count_macs(small) == plan.low_rank_macs
    assert lrpet.count_params(small) == plan.low_rank_params


def test_published_weights_of_resnet56():
    plan = lrpet.make_plan(resnet(56), 0.43, exclude="logits", keep_if_no_gain=True)
    assert f"{plan.low_rank_params / 1e6:.2f}" == "0.39"


def test_a_shared_layer_counts_once_in_weights_and_twice_in_macs():
    inputs = [keras.Input((8, 8, 3)), keras.Input((4, 4, 3))]
    conv = layers.Conv2D(5, 3, padding="same")
    model = keras.Model(inputs, [conv(each) for each in inputs])
    assert lrpet.count_macs(model) == (64 + 16) * 27 * 5
    assert lrpet.count_params(model) == 27 * 5 + 5


def test_nested_and_called_twice():
    inner_in = keras.Input((8, 8, 3))
    inner = keras.Model(inner_in, layers.Conv2D(3, 3, padding="same")(inner_in))
    inputs = keras.Input((8, 8, 3))
    assert lrpet.count_macs(keras.Model(inputs, inner(inner(inputs)))) == 2 * 64 * 27 * 3


def test_batch_norms_and_biases_are_no_multiply_accumulates():
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(5, 3), layers.BatchNormalization(), layers.Flatten(), layers.Dense(2)]
    )
    assert lrpet.count_macs(model) == 36 * 27 * 5 + 180 * 2
    assert lrpet.count_params(model) == 27 * 5 + 5 + 180 * 2 + 2


def test_low_rank_layers_count_their_factors():
    model = keras.Sequential([keras.Input((8, 8, 3)), LowRankConv2D(8, 3, rank=2), layers.Flatten(), LowRankDense(4, rank=3)])
    assert lrpet.count_macs(model) == 36 * (27 * 2 + 2 * 8) + 288 * 3 + 3 * 4
    small = lrpet.factorize(model)
    assert lrpet.count_macs(small) == lrpet.count_macs(model)
    assert lrpet.count_params(small) == lrpet.count_params(model) == model.count_params()


def test_unknown_sizes():
    model = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(64, 3, name="conv")])
    with pytest.raises(lrpet.LowRankError, match="'conv'.*unknown size"):
        lrpet.count_macs(model)
    plan = lrpet.make_plan(model, 0.2)
    assert [layer.path for layer in plan.layers] == ["conv"]
    assert plan.macs is None
    assert "?" in str(plan)


def test_a_subclass_of_a_convolution_is_counted():
    class Mine(layers.Conv2D):
        pass

    model = keras.Sequential([keras.Input((8, 8, 3)), Mine(5, 3), layers.TimeDistributed(layers.Dense(4))])
    assert lrpet.count_macs(model) == 36 * 27 * 5 + 36 * 5 * 4
    assert lrpet.count_params(model) == 27 * 5 + 5 + 5 * 4 + 4
