import numpy as np
import pytest

import lrpet_tf as lrpet
from lrpet_tf.plan import attach, attached
from lrpet_tf.search import search_ranks
from tests.search import toy


@pytest.mark.parametrize("epochs", [0, 1])
def test_everything_is_put_back_to_the_bit(epochs):
    model, train = toy.convs(), toy.data((8, 8, 3))
    model.fit(*train, verbose=0)
    attach(model, plan := lrpet.make_plan(model, 0.25))
    before = toy.state(model)
    search_ranks(model, train, trials=2, epochs=epochs, verbose=False)
    for one, other in zip(before, toy.state(model), strict=True):
        np.testing.assert_array_equal(one, other)
    assert attached(model) is plan


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_everything_is_put_back_after_an_error_or_an_interruption(error):
    import optuna

    model, calls = toy.mlp(), []

    def score(scored):
        calls.append(toy.worth(scored))
        if len(calls) == 4:
            raise error
        return calls[-1]

    before, verbosity = toy.state(model), optuna.logging.get_verbosity()
    with pytest.raises(error):
        toy.search(model, score=score)
    assert calls[1] < calls[0]
    for one, other in zip(before, toy.state(model), strict=True):
        np.testing.assert_array_equal(one, other)
    assert optuna.logging.get_verbosity() == verbosity
