"""The baseline without recurrence: a Transformer encoder of comparable size (Vaswani et al., 2017)."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen import initializers

from aux_rnn.config.settings import ModelConfig
from aux_rnn.config.spec import SequenceSpec
from aux_rnn.model.layers import Embedding, MLPHead
from aux_rnn.model.segments import Segments


class TransformerLayer(nn.Module):
    """Self-attention and a feed-forward network of twice the width, with pre-normalization (Xiong et al., 2020)."""

    heads: int

    @nn.compact
    def __call__(self, inputs: jax.Array, mask: jax.Array | None) -> jax.Array:
        """Maps `[B, L, D]` to `[B, L, D]`, ignoring elements where the mask, bool `[B, 1, 1, L]`, is false."""
        size = inputs.shape[-1]
        inputs = inputs + nn.MultiHeadDotProductAttention(self.heads)(nn.LayerNorm()(inputs), mask=mask)
        hidden = nn.relu(nn.Dense(2 * size)(nn.LayerNorm()(inputs)))
        return inputs + nn.Dense(size)(hidden)


class Transformer(nn.Module):
    """Reads a whole sequence at once: learned positions, layers of self-attention, the mean over the elements, and the
    classifier of `AuxiliaryRNN`.

    With D = 64 and 4 layers the layers have 134,000 parameters, the LSTM of 128 units with its embedding 132,000; the
    positions come on top, D for each element of the longest sequence.

    Attributes:
      config: sizes; truncations and auxiliary losses do not apply.
      spec: the shape and the kind of the sequences.
    """

    config: ModelConfig
    spec: SequenceSpec

    @nn.compact
    def __call__(
        self,
        inputs: jax.Array,
        lengths: jax.Array | None = None,
        segments: Mapping[str, Segments] | None = None,
        classify: bool = True,
        deterministic: bool = True,
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Classifies sequences; arguments and result are those of `AuxiliaryRNN`.

        Padding does not change the result: positions count from the first element of each sequence.
        """
        del segments, classify  # ModelConfig allows no auxiliary loss, for lack of a recurrent state
        config, length = self.config, inputs.shape[1]
        table = self.param(
            "positions", initializers.normal(0.02), (self.spec.length, config.transformer_size), jnp.float32
        )
        if lengths is None:
            positions, mask = table[None, :length], None
            weights = jnp.full((1, length, 1), 1 / length)
        else:
            steps = jnp.arange(length) - (length - lengths)[:, None]
            positions, own = table[jnp.maximum(steps, 0)], steps >= 0
            mask = own[:, None, None, :]
            weights = (own / jnp.maximum(lengths, 1)[:, None])[:, :, None]
        hidden = Embedding(config.transformer_size, self.spec.vocabulary_size, name="embedding")(inputs) + positions
        for _ in range(config.transformer_layers):
            hidden = TransformerLayer(config.transformer_heads)(hidden, mask)
        pooled = jnp.sum(weights * nn.LayerNorm()(hidden), axis=1)
        head = MLPHead(config.head_sizes, self.spec.num_classes, config.dropconnect, name="head")
        return head(pooled, deterministic), {}
