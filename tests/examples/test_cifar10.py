import itertools

import keras
import numpy as np
import pytest

import lrpet_tf as lrpet
from examples.cifar10 import data, models


@pytest.mark.parametrize(
    ("name", "layers"), [("resnet20", 19), ("resnet32", 31), ("resnet56", 55), ("resnet110", 109), ("vgg16_bn", 13)]
)
def test_every_convolution_is_found_with_its_batch_norm(name, layers):
    model = models.MODELS[name]()
    plan = lrpet.make_plan(model, 0.43, exclude="logits", keep_if_no_gain=True)
    assert len(plan.layers) == layers
    assert all(layer.batch_norm == f"{layer.path}_bn" for layer in plan.layers)


def test_shortcuts_have_no_weights():
    model = models.resnet(20)
    kernels = [layer for layer in model.layers if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense))]
    assert len(kernels) == 20
    with pytest.raises(ValueError, match="depth=21"):
        models.resnet(21)


def test_the_shortcut_subsamples_and_pads_with_zero_channels(rng):
    inputs = keras.Input((8, 8, 4))
    shortcut = keras.Model(inputs, models._shortcut(inputs, 8, 2))
    images = rng.standard_normal((2, 8, 8, 4)).astype("float32")
    expected = np.pad(images[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (2, 2)))
    np.testing.assert_array_equal(shortcut.predict(images, verbose=0), expected)


def test_the_weight_decay_is_that_of_the_gradient():
    model = models.resnet(20, weight_decay=1e-4)
    kernel = keras.ops.convert_to_numpy(model.get_layer("stem").kernel)
    penalty = float(model.get_layer("stem").kernel_regularizer(model.get_layer("stem").kernel))
    assert penalty == pytest.approx(0.5e-4 * np.sum(kernel.astype("float64") ** 2), rel=1e-5)


def _batches(images, labels, count, **options):
    return list(itertools.islice(data.augmented_batches(images, labels, seed=0, **options), count))


def test_batches_depend_on_seed_and_epoch_alone(rng):
    images, labels = rng.integers(0, 256, (50, 32, 32, 3), dtype="uint8"), np.arange(50)
    two_epochs = _batches(images, labels, 6, batch_size=16)  # 3 batches an epoch
    second_epoch = _batches(images, labels, 3, batch_size=16, first_epoch=1)
    for whole, resumed in zip(two_epochs[3:], second_epoch, strict=True):
        for one, other in zip(whole, resumed, strict=True):
            np.testing.assert_array_equal(one, other)
    assert not np.array_equal(two_epochs[0][1], two_epochs[3][1])
    assert len(set(np.concatenate([labels for _, labels in two_epochs[:3]]))) == 48


def test_augmentation_is_a_padded_crop_or_its_mirror_image(rng):
    images, labels = rng.integers(0, 256, (20, 32, 32, 3), dtype="uint8"), np.arange(20)
    ((batch, chosen),) = _batches(images, labels, 1, batch_size=20)
    padded = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)))
    flipped = 0
    for image, label in zip(batch, chosen, strict=True):
        crops = [padded[label, y : y + 32, x : x + 32] for y in range(9) for x in range(9)]
        plain = any(np.array_equal(data.normalise(crop), image) for crop in crops)
        mirrored = any(np.array_equal(data.normalise(crop[:, ::-1]), image) for crop in crops)
        assert plain or mirrored
        flipped += mirrored
    assert 0 < flipped < 20
