"""The decoder of an auxiliary loss."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from aux_rnn import cudnn, fused
from aux_rnn.cells import Carry, CellFactory, LSTMCell, zero_carry
from aux_rnn.config import ModelConfig, SequenceSpec
from aux_rnn.layers import Embedding, Head, StateMap
from aux_rnn.precision import MATMULS
from aux_rnn.recurrence import run_chunks, scan_chunks

PIXEL_LEVELS = 256  # of a uint8 channel


def recurrence_of(config: ModelConfig, cell: nn.RNNCellBase) -> str:
    """How steps of this cell are computed: 'scan', or our LSTM's by 'fused' or 'cudnn'."""
    if not isinstance(cell, LSTMCell):
        return "scan"
    return "fused" if config.recurrence == "auto" else config.recurrence


def count_outputs(config: ModelConfig, spec: SequenceSpec) -> int:
    """What a decoder puts out for each element: logits of tokens or of the channels' levels, or the channels."""
    return spec.vocabulary_size or spec.channels * (PIXEL_LEVELS if config.pixel_loss == "softmax" else 1)


class Decoder(nn.Module):
    """Produces a segment from the encoder's state at an anchor (Trinh et al., 2018, figure 1).

    The bottom recurrent layer starts from the encoder's state, through a learned linear map where the sizes differ; the
    layers above start from zero. The decoder has an embedding of its own: one shared with the encoder would let the
    auxiliary gradient into it past every truncation.

    Attributes:
      config: sizes, feeding, loss and truncation.
      spec: what the sequences are.
      cell: makes a recurrent cell of a given size; the encoder's, so that the states fit.

    Examples:
      Two segments of five elements, from states of eight units of flax's own cell.

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
        self.state_map = StateMap(config.decoder_sizes[0], matmul)
        self.layers = [self.cell(size) for size in config.decoder_sizes]
        self.is_softmax = not spec.vocabulary_size and config.pixel_loss == "softmax"
        self.head = Head(config.decoder_head_sizes, count_outputs(config, spec), config.dropconnect, matmul)

    def __call__(self, state: Carry, previous: jax.Array, deterministic: bool = True) -> jax.Array:
        """Decodes `R` segments of `S` elements.

        Args:
          state: the encoder's states at the anchors, leaves `[R, H]`.
          previous: the true element before each target, `[R, S, C]` or int `[R, S]`; without teacher forcing only the
            first of each row is read.
          deterministic: whether DropConnect is off.

        Returns:
          `[R, S, C]`, or logits: `[R, S, C, 256]` for pixels under a softmax, `[R, S, vocabulary_size]` for tokens.
        """
        rows, steps = previous.shape[:2]
        layers = zip(self.layers[1:], self.config.decoder_sizes, strict=False)
        states = (self.state_map(state), *(zero_carry(layer, rows, size) for layer, size in layers))
        truncation = self.config.decoder_truncation
        if self.config.teacher_forcing:
            hidden = self.run(states, jnp.swapaxes(previous, 0, 1))
            return self.put_out(jnp.swapaxes(hidden, 0, 1), deterministic)

        def step(decoder: Decoder, carry: tuple, _: jax.Array) -> tuple[tuple, jax.Array]:
            states, element = carry
            states, hidden = decoder.advance(states, decoder.embedding(element))
            output = decoder.put_out(hidden, deterministic)
            return (states, decoder.to_element(output).astype(element.dtype)), output

        _, outputs = scan_chunks(step, self, (states, previous[:, 0]), jnp.arange(steps), truncation)
        return jnp.swapaxes(outputs, 0, 1)

    def run(self, states: tuple[Carry, ...], elements: jax.Array) -> jax.Array:
        """The top layer's outputs `[S, R, H]` for elements `[S, R, C]`, or tokens `[S, R]`, that are all known."""
        recurrence, truncation = recurrence_of(self.config, self.layers[0]), self.config.decoder_truncation
        if recurrence == "scan" or self.is_initializing():
            return scan_chunks(Decoder.advance, self, states, self.embedding(elements), truncation)[1]
        embedding = self.embedding.variables["params"]
        bottom, *above = [layer.variables["params"] for layer in self.layers]
        upper = [fused.as_layer(params) for params in above]
        if recurrence == "cudnn":
            reader = cudnn.CudnnEncoder.of(bottom, embedding)
            return run_chunks(cudnn.run_lstm, (reader.layer, *upper), states, reader.embed(elements), truncation)[1]
        steps, cuts = len(elements), None
        if truncation != "full" and truncation < steps:
            cuts = (jnp.arange(steps) % truncation == 0).at[0].set(False)
        layers, matmul = (fused.fold(bottom, embedding), *upper), MATMULS[self.config.precision]
        _, (_, hidden) = fused.run_lstm(layers, states, elements, None, cuts, False, matmul)
        return hidden

    def advance(self, states: tuple[Carry, ...], embedded: jax.Array) -> tuple[tuple[Carry, ...], jax.Array]:
        """One step of all layers on an embedded element `[R, E]`; also returns the top layer's output `[R, H]`."""
        new_states = []
        for layer, state in zip(self.layers, states, strict=True):
            state, embedded = layer(state, embedded)
            new_states.append(state)
        return tuple(new_states), embedded

    def put_out(self, hidden: jax.Array, deterministic: bool) -> jax.Array:
        """`[..., H]` to what `__call__` returns for each target."""
        output = self.head(hidden, deterministic)
        return output.reshape(*output.shape[:-1], self.spec.channels, PIXEL_LEVELS) if self.is_softmax else output

    def to_element(self, output: jax.Array) -> jax.Array:
        """The element that an output stands for: the likeliest token or level, which carries no gradient, or itself."""
        if self.spec.vocabulary_size:
            return jnp.argmax(output, axis=-1)
        return jnp.argmax(output, axis=-1) / (PIXEL_LEVELS - 1) if self.is_softmax else output
