"""Searching the ranks: one ratio a layer or group of layers, tried out on held-out training data with Optuna."""

from lrpet_tf.search.result import RankTrial, SearchResult
from lrpet_tf.search.searching import search_ranks

__all__ = ["RankTrial", "SearchResult", "search_ranks"]
