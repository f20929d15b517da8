"""The decoder of an auxiliary loss."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from aux_rnn.config.settings import ModelConfig
from aux_rnn.config.spec import SequenceSpec
from aux_rnn.model.layers import Embedding, MLPHead, StateProjection
from aux_rnn.recurrence.backends import select_backend
from aux_rnn.recurrence.cells import Carry, CellFactory, zero_carry
from aux_rnn.recurrence.precision import MATMULS
from aux_rnn.recurrence.scan import truncated_scan

PIXEL_LEVELS = 256  # of a uint8 channel


def output_size(config: ModelConfig, spec: SequenceSpec) -> int:
    """Returns the outputs per element: the tokens or the levels of all channels (logits), or the channels."""
    return spec.vocabulary_size or spec.channels * (PIXEL_LEVELS if config.pixel_loss == "softmax" else 1)


class Decoder(nn.Module):
    """Generates a segment from the encoder's state at an anchor (Trinh et al., 2018, figure 1).

    The bottom recurrent layer starts from the encoder's state, through a learned linear map where the sizes differ; the
    layers above start from zero. The decoder has its own embedding: the auxiliary gradient would reach one shared with
    the encoder past every truncation.

    Attributes:
      config: sizes, teacher forcing, loss and truncation.
      spec: the shape and the kind of the sequences.
      cell: a function from a size to a recurrent cell; the encoder's, so that the states have the same structure.

    Examples:
      Two segments of five elements, from states of eight units of flax's LSTM cell:

      >>> config = ModelConfig(decoder_sizes=(16, 16), embedding_size=4)
      >>> decoder = Decoder(config, SequenceSpec(length=20, channels=3, num_classes=2), nn.OptimizedLSTMCell)
      >>> states, previous = (jnp.ones((2, 8)), jnp.ones((2, 8))), jnp.zeros((2, 5, 3))
      >>> outputs, variables = decoder.init_with_output(jax.random.key(0), states, previous)
      >>> outputs.shape
      (2, 5, 3)
    """

    config: ModelConfig
    spec: SequenceSpec
    cell: CellFactory

    def setup(self) -> None:
        config, spec = self.config, self.spec
        matmul = MATMULS[config.precision]
        self.embedding = Embedding(config.embedding_size, spec.vocabulary_size, matmul)
        self.state_map = StateProjection(config.decoder_sizes[0], matmul)
        self.layers = [self.cell(size) for size in config.decoder_sizes]
        self.is_softmax = not spec.vocabulary_size and config.pixel_loss == "softmax"
        self.head = MLPHead(config.decoder_head_sizes, output_size(config, spec), config.dropconnect, matmul)

    def __call__(self, state: Carry, previous: jax.Array, deterministic: bool = True) -> jax.Array:
        """Decodes `R` segments of `S` elements.

        Args:
          state: the encoder's states at the anchors, leaves `[R, H]`.
          previous: the true element before each target, `[R, S, C]` or int `[R, S]`; a free-running decoder reads only
            the first element of each row.
          deterministic: whether DropConnect is disabled.

        Returns:
          `[R, S, C]`, or logits: `[R, S, C, 256]` for pixels under a softmax, `[R, S, vocabulary_size]` for tokens.
        """
        rows, steps = previous.shape[:2]
        sizes = self.config.decoder_sizes
        upper = [zero_carry(layer, rows, below) for layer, below in zip(self.layers[1:], sizes[:-1], strict=True)]
        states = (self.state_map(state), *upper)
        if self.config.teacher_forcing:
            backend = select_backend(self.config.recurrence, self.layers[0])
            hidden = backend.run_decoder(self, states, jnp.swapaxes(previous, 0, 1))
            return self.apply_head(jnp.swapaxes(hidden, 0, 1), deterministic)

        def step(decoder: Decoder, carry: tuple, _: jax.Array) -> tuple[tuple, jax.Array]:
            states, element = carry
            states, hidden = decoder.step(states, decoder.embedding(element))
            output = decoder.apply_head(hidden, deterministic)
            return (states, decoder.feed_back(output).astype(element.dtype)), output

        carry = states, previous[:, 0]
        _, outputs = truncated_scan(step, self, carry, jnp.arange(steps), self.config.decoder_truncation)
        return jnp.swapaxes(outputs, 0, 1)

    def step(self, states: tuple[Carry, ...], embedded: jax.Array) -> tuple[tuple[Carry, ...], jax.Array]:
        """Runs one step of all layers on an embedded element `[R, E]`; also returns the top layer's output `[R, H]`."""
        new_states = []
        for layer, state in zip(self.layers, states, strict=True):
            state, embedded = layer(state, embedded)
            new_states.append(state)
        return tuple(new_states), embedded

    def apply_head(self, hidden: jax.Array, deterministic: bool) -> jax.Array:
        """Maps `[..., H]` to the output for each target (see `__call__`)."""
        output = self.head(hidden, deterministic)
        return output.reshape(*output.shape[:-1], self.spec.channels, PIXEL_LEVELS) if self.is_softmax else output

    def feed_back(self, output: jax.Array) -> jax.Array:
        """Returns the next input of a free-running decoder: the most likely token or level, or the output itself."""
        if self.spec.vocabulary_size:
            return jnp.argmax(output, axis=-1)
        return jnp.argmax(output, axis=-1) / (PIXEL_LEVELS - 1) if self.is_softmax else output
