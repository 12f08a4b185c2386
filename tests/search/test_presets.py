import numpy as np
import pytest

import lrpet_tf as lrpet
from lrpet_tf.search import search_ranks
from tests.search import toy


def test_the_authors_objective():
    result = toy.search(preset="lrpet", epochs=0, trials=5, weight=0.8)
    for trial in result.trials:
        assert trial.value == pytest.approx(2 * trial.score - 0.8 * trial.cost / result.dense_cost)
    trial = next(trial for trial in result.trials if trial.plan.layers)
    model, (x, _) = toy.mlp(), toy.data()
    lrpet.Projector(model, trial.plan).project()
    small = lrpet.factorize(model, trial.plan)  # the factorized model scores what the projected one does
    np.testing.assert_allclose(small.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-4)


def test_the_authors_search_trains_an_epoch():
    model, fits = toy.mlp(), []
    fit = model.fit
    model.fit = lambda *args, **options: fits.append(options["epochs"]) or fit(*args, **options)
    search_ranks(model, toy.data(), preset="lrpet", trials=2, verbose=False)
    assert fits == [1, 1]
