"""Layers with a dense kernel whose author declares the rank where the layer is built."""

import keras
from keras import ops

from lrpet_tf.errors import LowRankError
from lrpet_tf.linalg import resolve_rank, truncate, validate_rank


class _DeclaredRank:
    """Adds a declared rank to a layer that has a `kernel` with the output channels last."""

    def __init__(self, *args, rank, **kwargs):
        super().__init__(*args, **kwargs)
        self.declared_rank = validate_rank(rank, path=self.name)

    def get_config(self) -> dict:
        """Returns the configuration of the layer, its rank included."""
        return {**super().get_config(), "rank": self.declared_rank}

    def project(self, gain=None, **options) -> None:
        """Projects the kernel in place onto the declared rank.

        Args:
            gain: Tensor `(out,)` that multiplies the output channels further on, such as a batch norm's
                `γ / sqrt(var + ε)`; `None` for ones.
            **options: `energy`, `tail`, `damping` and `engine` of `lrpet_tf.linalg.truncate`.

        Raises:
            RankError: The declared rank is above the full rank.
            LowRankError: The layer is not built.
        """
        if not self.built:
            raise LowRankError(f"Layer '{self.name}' has no kernel to project: build it first, by calling it on an input.")
        matrix = ops.reshape(self.kernel, (-1, self.kernel.shape[-1]))
        rank = resolve_rank(self.declared_rank, min(matrix.shape), self.name)
        self.kernel.assign(ops.reshape(truncate(matrix, rank, gain=gain, **options), self.kernel.shape))


@keras.saving.register_keras_serializable(package="lrpet_tf")
class LRPETConv2D(_DeclaredRank, keras.layers.Conv2D):
    """A Conv2D that declares the rank it is to end up with: `LRPETConv2D(64, 3, rank=0.5)`.

    It computes what a Conv2D computes, with a dense kernel. `LRPETCallback()` trains it to its rank, and `factorize` turns
    it into stock Conv2D layers.

    Args:
        filters: As in `keras.layers.Conv2D`, like all further arguments.
        kernel_size: See there.
        rank: A share of the full rank as a float in (0, 1], or a rank as an int.
        **kwargs: Everything else that `keras.layers.Conv2D` takes.

    Raises:
        RankError: `rank` is neither.
    """


@keras.saving.register_keras_serializable(package="lrpet_tf")
class LRPETDense(_DeclaredRank, keras.layers.Dense):
    """A Dense layer that declares the rank it is to end up with: `LRPETDense(256, rank=32)`.

    It computes what a Dense layer computes, with a dense kernel. `LRPETCallback()` trains it to its rank, and `factorize`
    turns it into stock Dense layers.

    Args:
        units: As in `keras.layers.Dense`, like all further arguments.
        rank: A share of the full rank as a float in (0, 1], or a rank as an int.
        **kwargs: Everything else that `keras.layers.Dense` takes.

    Raises:
        RankError: `rank` is neither.
    """
