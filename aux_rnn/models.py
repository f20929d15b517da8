"""The network: embedding and recurrent encoder, classifier, and the decoders of the auxiliary losses."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen import initializers

from aux_rnn.cells import CELLS, Carry, CellFactory, LSTMCell, hidden_of, zero_carry
from aux_rnn.config import ModelConfig, SequenceSpec
from aux_rnn.fused import Folded, FoldedEncoder, fold, run_lstm
from aux_rnn.recurrence import Windows, encode_windows, scan_chunks
from aux_rnn.sequences import Segments

PIXEL_LEVELS = 256  # of a uint8 channel


def may_be_fused(config: ModelConfig, cell: nn.RNNCellBase) -> bool:
    return config.recurrence != "scan" and isinstance(cell, LSTMCell)


class Embedding(nn.Module):
    """A learned linear map of `C` values, or a table for tokens: `[..., C]` or int `[...]` to `[..., E]`."""

    features: int
    vocabulary_size: int

    @nn.compact
    def __call__(self, elements: jax.Array) -> jax.Array:
        if self.vocabulary_size:
            return nn.Embed(self.vocabulary_size, self.features, name="table")(elements)
        return nn.Dense(self.features, name="linear")(elements)


class Encoder(nn.Module):
    """The recurrent layer that reads the sequence, one element a call."""

    cell: nn.RNNCellBase
    embedding_size: int
    vocabulary_size: int

    def setup(self) -> None:
        self.embedding = Embedding(self.embedding_size, self.vocabulary_size)

    def __call__(self, state: Carry, element: jax.Array) -> Carry:
        """`s[t + 1]` from `s[t]` (leaves `[B, H]`) and `x[t]` (`[B, C]`, tokens `[B]`)."""
        return self.cell(state, self.embedding(element))[0]

    def initial_state(self, batch: int) -> Carry:
        return zero_carry(self.cell, batch, self.embedding_size)


class DropConnectDense(nn.Module):
    """A dense layer whose matrix loses entries at random in training (DropConnect; Wan et al., 2013)."""

    features: int
    rate: float

    @nn.compact
    def __call__(self, inputs: jax.Array, deterministic: bool) -> jax.Array:
        kernel = self.param("kernel", initializers.lecun_normal(), (inputs.shape[-1], self.features))
        bias = self.param("bias", initializers.zeros, (self.features,))
        if self.rate > 0 and not deterministic:
            kept = jax.random.bernoulli(self.make_rng("dropconnect"), 1 - self.rate, kernel.shape)
            kernel = jnp.where(kept, kernel / (1 - self.rate), 0)
        return inputs @ kernel + bias


class Head(nn.Module):
    """A feed-forward network: hidden layers with rectifiers, and a linear last layer with DropConnect."""

    sizes: tuple[int, ...]
    outputs: int
    dropconnect: float

    @nn.compact
    def __call__(self, inputs: jax.Array, deterministic: bool) -> jax.Array:
        """`[..., H]` to `[..., outputs]`."""
        for size in self.sizes:
            inputs = nn.relu(nn.Dense(size)(inputs))
        return DropConnectDense(self.outputs, self.dropconnect, name="output")(inputs, deterministic)


class StateMap(nn.Module):
    """Brings a state to another size: a learned linear map of each of its arrays, nothing where the sizes agree."""

    features: int

    @nn.compact
    def __call__(self, state: Carry) -> Carry:
        return jax.tree.map(lambda s: s if s.shape[-1] == self.features else nn.Dense(self.features)(s), state)


class Decoder(nn.Module):
    """Produces a segment from the encoder's state at an anchor (Trinh et al., 2018, figure 1).

    The bottom recurrent layer starts from the encoder's state, through a learned linear map where the sizes differ; the
    layers above start from zero. The decoder has an embedding of its own: one shared with the encoder would let the
    auxiliary gradient into it past every truncation.

    Attributes:
      config: sizes, feeding, loss and truncation.
      spec: what the sequences are.
      cell: makes a recurrent cell of a given size; the encoder's, so that the states fit.
    """

    config: ModelConfig
    spec: SequenceSpec
    cell: CellFactory

    def setup(self) -> None:
        config, spec = self.config, self.spec
        self.embedding = Embedding(config.embedding_size, spec.vocabulary_size)
        self.state_map = StateMap(config.decoder_sizes[0])
        self.layers = [self.cell(size) for size in config.decoder_sizes]
        self.is_softmax = not spec.vocabulary_size and config.pixel_loss == "softmax"
        outputs = spec.vocabulary_size or spec.channels * (PIXEL_LEVELS if self.is_softmax else 1)
        self.head = Head(config.decoder_head_sizes, outputs, config.dropconnect)

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
        if self.config.teacher_forcing and may_be_fused(self.config, self.layers[0]) and not self.is_initializing():
            return self.put_out(jnp.swapaxes(self.run_fused(states, previous), 0, 1), deterministic)
        if self.config.teacher_forcing:
            embedded = jnp.swapaxes(self.embedding(previous), 0, 1)
            _, hidden = scan_chunks(Decoder.advance, self, states, embedded, truncation)
            return self.put_out(jnp.swapaxes(hidden, 0, 1), deterministic)

        def step(decoder: Decoder, carry: tuple, _: jax.Array) -> tuple[tuple, jax.Array]:
            states, element = carry
            states, hidden = decoder.advance(states, decoder.embedding(element))
            output = decoder.put_out(hidden, deterministic)
            return (states, decoder.to_element(output).astype(element.dtype)), output

        _, outputs = scan_chunks(step, self, (states, previous[:, 0]), jnp.arange(steps), truncation)
        return jnp.swapaxes(outputs, 0, 1)

    def run_fused(self, states: tuple[Carry, ...], previous: jax.Array) -> jax.Array:
        """The top layer's outputs `[S, R, H]` by the fused recurrence, one layer after the other."""
        bottom = fold(self.layers[0].variables["params"], self.embedding.variables["params"])
        cells = [bottom.cell]
        for layer in self.layers[1:]:
            params = layer.variables["params"]
            cells.append(Folded(params["input_kernel"], params["recurrent_kernel"], params["bias"]))
        hidden = bottom.read(jnp.swapaxes(previous, 0, 1))
        steps, rows = hidden.shape[:2]
        truncation = self.config.decoder_truncation
        cuts = jnp.arange(steps) % (steps if truncation == "full" else truncation) == 0
        for cell, state in zip(cells, states, strict=True):
            _, (_, hidden) = run_lstm(cell, state, hidden, jnp.ones((steps, rows), bool), cuts.at[0].set(False))
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


class AuxiliaryRNN(nn.Module):
    """An encoder with a classifier on its last state and one decoder for each auxiliary loss.

    Attributes:
      config: sizes, truncations and which auxiliary losses there are.
      spec: what the sequences are.
      cell: makes the recurrent cell of a given size; None takes the one that `config.encoder` names. Any
        `flax.linen.RNNCellBase` whose carry ends with its hidden state will do.
    """

    config: ModelConfig
    spec: SequenceSpec
    cell: CellFactory | None = None

    def setup(self) -> None:
        config, cell = self.config, self.cell or CELLS[self.config.encoder]
        self.encoder = Encoder(cell(config.hidden_size), config.embedding_size, self.spec.vocabulary_size)
        self.head = Head(config.head_sizes, self.spec.num_classes, config.dropconnect)
        self.decoders = {kind: Decoder(config, self.spec, cell) for kind in config.auxiliaries}

    def __call__(
        self,
        inputs: jax.Array,
        lengths: jax.Array | None = None,
        segments: Mapping[str, Segments] | None = None,
        classify: bool = True,
        deterministic: bool = True,
    ) -> tuple[jax.Array | None, dict[str, jax.Array]]:
        """Classifies sequences and decodes segments of them; each result's gradient reaches as far as its truncation.

        Args:
          inputs: `[B, L, C]` float32 or, for tokens, int `[B, L]`; padded on the left.
          lengths: int32 `[B]`, each example's own length; None where no sequence is padded.
          segments: what to decode, by kind ('reconstruct', 'predict'), `A` segments of `S` elements an example.
          classify: whether to compute the logits (pretraining needs none).
          deterministic: whether DropConnect is off.

        Returns:
          The logits `[B, K]` or None, and for each kind the decoder's outputs `[B, A, S, ...]` (see `Decoder`).
        """
        segments = segments or {}
        final, states = self.encode(inputs, lengths, segments, classify)
        logits = None if final is None else self.classify(final, deterministic)
        return logits, {kind: self.decode(kind, states[kind], segments[kind], deterministic) for kind in segments}

    def encode(
        self, inputs: jax.Array, lengths: jax.Array | None, segments: Mapping[str, Segments], classify: bool
    ) -> tuple[Carry | None, dict[str, Carry]]:
        """The state after the whole sequence, leaves `[B, H]` or None, and those at the anchors, leaves `[B, A, H]`."""
        batch, length = inputs.shape[:2]
        windows = []
        if classify:
            ends = jnp.full((batch, 1), length, jnp.int32)
            windows.append(Windows(ends, self.config.supervised_truncation, latest=length))
        for kind, segment in segments.items():
            # A sequence shorter than the segment has its anchor for a prediction nearer to the end than S.
            ends_early = kind == "predict" and lengths is None
            latest = length - segment.inputs.shape[2] if ends_early else length
            windows.append(Windows(segment.anchors, self.config.auxiliary_truncation, latest))
        # Without a cut the gates that automatic differentiation keeps are faster than those computed anew.
        is_fused = self.config.recurrence == "fused" or not any(window.is_full() for window in windows)
        encoder = (self.folded_encoder() if is_fused else None) or self.encoder
        states = encode_windows(encoder, inputs, lengths, windows)
        final = jax.tree.map(lambda s: s[:, 0], states.pop(0)) if classify else None
        return final, dict(zip(segments, states, strict=True))

    def folded_encoder(self) -> FoldedEncoder | None:
        """The encoder for the fused recurrence, where that is to be used; not while parameters are made."""
        encoder = self.encoder
        if not may_be_fused(self.config, encoder.cell) or self.is_initializing():
            return None
        return fold(encoder.cell.variables["params"], encoder.embedding.variables["params"])

    def classify(self, final: Carry, deterministic: bool = True) -> jax.Array:
        """The logits `[B, K]` from the states after the whole sequences, leaves `[B, H]`."""
        return self.head(hidden_of(final), deterministic)

    def decode(self, kind: str, states: Carry, segment: Segments, deterministic: bool = True) -> jax.Array:
        """The decoder's outputs `[B, A, S, ...]` from states at the anchors, leaves `[B, A, H]`."""
        rows, previous = jax.tree.map(lambda s: s.reshape(-1, *s.shape[2:]), (states, segment.inputs))
        outputs = self.decoders[kind](rows, previous, deterministic)
        return outputs.reshape(*segment.anchors.shape, *outputs.shape[1:])


def count_parameters(params: Mapping) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))
