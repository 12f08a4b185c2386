import pytest

from lrpet_tf import errors
from lrpet_tf.search import search_ranks
from tests.search import toy


def test_data_sets_with_data_to_score_on():
    tf = pytest.importorskip("tensorflow")
    model, (x, y) = toy.mlp(), toy.data()
    train = tf.data.Dataset.from_tensor_slices((x[:80], y[:80])).batch(16)
    held = tf.data.Dataset.from_tensor_slices((x[80:], y[80:])).batch(4)
    one = search_ranks(model, train, scored_on=held, trials=3, verbose=False)
    two = search_ranks(model, (x[:80], y[:80]), scored_on=(x[80:], y[80:]), trials=3, verbose=False, pruner=None)
    assert [trial.score for trial in one.trials] == pytest.approx([trial.score for trial in two.trials])
    with pytest.raises(errors.LowRankError, match="Only arrays can be split.*Received: train of type.*scored_on"):
        search_ranks(model, train, trials=3)
    with pytest.raises(errors.LowRankError, match="read again"):
        search_ranks(model, iter([(x, y)]), trials=3)
