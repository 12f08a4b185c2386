import keras
import numpy as np
import pytest
from keras import layers

import lrpet_tf as lrpet
from lrpet_tf import ranks
from tests.ranks import nets


def test_energy_is_the_smallest_rank_of_the_scaled_kernel():
    model = nets.net()
    for share in (0.5, 0.8, 0.95):
        plan = lrpet.make_plan(model, ranks.Energy(share), keep_if_no_gain=True)
        for path, batch_norm in (("conv0", "bn0"), ("conv1", "bn1"), ("conv2", "bn2"), ("hidden", None), ("head", None)):
            spectrum = nets.spectrum(model, path, batch_norm)
            rank = plan[path].rank
            assert nets.kept(spectrum, rank) >= share - 1e-6
            assert rank == 1 or nets.kept(spectrum, rank - 1) < share + 1e-6
            assert plan[path].energy_kept == pytest.approx(nets.kept(spectrum, rank), abs=1e-6)


def test_energy_on_a_spectrum_of_equal_values():
    model = keras.Sequential([keras.Input((64,)), layers.Dense(10, use_bias=False, name="dense")])
    model.get_layer("dense").kernel.assign(np.linalg.qr(np.random.default_rng(0).standard_normal((64, 10)))[0])
    for share, rank in ((0.2, 2), (0.25, 3), (1.0, 10)):
        assert lrpet.make_plan(model, ranks.Energy(share - 1e-7), keep_if_no_gain=True)["dense"].rank == rank


def test_rounding_goes_up_so_that_no_less_is_kept():
    model = nets.net()
    exact = lrpet.make_plan(model, ranks.Energy(0.8), keep_if_no_gain=True)
    rounded = lrpet.make_plan(model, ranks.Energy(0.8, multiple_of=8), keep_if_no_gain=True)
    assert all(exact[path].rank <= rounded[path].rank < exact[path].rank + 8 for path in exact)
