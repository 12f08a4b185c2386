"""Embedding: a table of few columns, then a Dense layer."""

from collections.abc import Collection, Sequence

from keras import layers

from lrpet_tf.adapters.base import KernelAdapter, Shape, StockLayer, product
from lrpet_tf.layers.stock import embedding_chain
from lrpet_tf.linalg import Chain, FactorShape, shapes_of


class EmbeddingAdapter(KernelAdapter):
    """The table `(vocabulary, out)`. Looking a row up costs nothing: a chain saves weights and costs multiply-accumulates."""

    def kernel(self, layer: layers.Embedding):
        """Returns the table."""
        return layer.embeddings

    def sizes(self, layer, input_shape: Shape, output_shape: Shape) -> tuple[Shape, Shape]:
        """Returns the number of tokens."""
        tokens = (product(tuple(input_shape[1:])), 1)
        return tokens, tokens

    def chain_macs(self, layer, shapes: Sequence[FactorShape], input_shape: Shape, output_shape: Shape) -> int | None:
        """Returns those of all factors but the table."""
        return super().chain_macs(layer, shapes[1:], input_shape, output_shape)

    def stock_chain(self, layer: layers.Embedding, chain: Chain, taken: Collection[str] = ()) -> list[StockLayer]:
        """Returns an Embedding and Dense layers; see `KernelAdapter.stock_chain`."""
        stock = embedding_chain(layer, shapes_of(chain), taken)
        return [StockLayer(made, [factor.kernel[0, 0]]) for made, factor in zip(stock, chain, strict=True)]
