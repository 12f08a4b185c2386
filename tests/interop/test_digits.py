"""End to end on digits: trained, factorized, trained for quantization, and the file judged by LiteRT."""

import keras
import numpy as np
import pytest

from lrpet_tf import interop
from lrpet_tf.interop.exporting import convert_quantized, run_quantized
from tests.interop import nets

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]


def test_the_int8_file_is_as_good_as_the_float_model(tmp_path):
    (images, labels), (test, test_labels) = nets.digits()
    small = nets.factorized(width=32)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    small.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    small.fit(images, labels, epochs=15, batch_size=64, verbose=0)
    (before,) = nets.outputs(small, test)
    aware = nets.compiled(interop.quantize_aware(small, representative_data=images[:512]), 1e-3)
    start = aware.evaluate(test, test_labels, verbose=0)[1]
    aware.fit(images, labels, epochs=3, batch_size=64, verbose=0)
    report = interop.export_quantized(aware, tmp_path / "digits.tflite", samples=test)
    (after,) = run_quantized(convert_quantized(aware), [test])
    accuracies = [float(np.mean(each.argmax(-1) == test_labels)) for each in (before, after)]
    assert accuracies[0] > 0.85
    assert start > accuracies[0] - 0.03
    assert accuracies[1] >= accuracies[0] - 0.005
    assert report.parity[0].top1_agreement >= 0.98
    assert report.size_bytes < 0.6 * 4 * small.count_params()
