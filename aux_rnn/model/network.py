"""The network: a recurrent encoder, a classifier on its last state and the decoders of the auxiliary losses."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn

from aux_rnn.config.settings import ModelConfig
from aux_rnn.config.spec import SequenceSpec
from aux_rnn.model.decoder import Decoder
from aux_rnn.model.layers import Embedding, MLPHead
from aux_rnn.model.segments import Segments
from aux_rnn.recurrence.backends import select_backend
from aux_rnn.recurrence.cells import Carry, CellFactory, cell_factory, hidden_state, zero_carry
from aux_rnn.recurrence.precision import MATMULS, MatMul
from aux_rnn.recurrence.windows import Windows, encode_windows


class Encoder(nn.Module):
    """The recurrent layer that reads the sequence, one element per call.

    Attributes:
      cell: any `flax.linen.RNNCellBase` whose carry ends with its hidden state.
      embedding_size: E, the size of the embedded element that the cell reads.
      vocabulary_size: number of tokens, or 0 for elements of real values.
      matmul: the matrix product, see `precision.py`.

    Examples:
      >>> encoder = Encoder(nn.GRUCell(8), embedding_size=4, vocabulary_size=0)
      >>> state, element = jnp.zeros((2, 8)), jnp.ones((2, 3))
      >>> state, variables = encoder.init_with_output(jax.random.key(0), state, element)
      >>> state.shape
      (2, 8)
    """

    cell: nn.RNNCellBase
    embedding_size: int
    vocabulary_size: int
    matmul: MatMul = jnp.matmul

    def setup(self) -> None:
        self.embedding = Embedding(self.embedding_size, self.vocabulary_size, self.matmul)

    def __call__(self, state: Carry, element: jax.Array) -> Carry:
        """Computes `s[t + 1]` from `s[t]` (leaves `[B, H]`) and `x[t]` (`[B, C]`, tokens `[B]`)."""
        return self.cell(state, self.embedding(element))[0]

    def initial_state(self, batch: int) -> Carry:
        return zero_carry(self.cell, batch, self.embedding_size)


class AuxiliaryRNN(nn.Module):
    """An encoder with a classifier on its last state and one decoder per auxiliary loss.

    Attributes:
      config: sizes, truncations and the auxiliary losses in use.
      spec: the shape and the kind of the sequences.
      cell: a function from a size to any `flax.linen.RNNCellBase` whose carry ends with its hidden state; None takes
        the cell that `config.encoder` names.

    Source: Trinh, Dai, Luong and Le (2018), section 3.

    Examples:
      >>> from aux_rnn import draw_segments, init_params
      >>> config = ModelConfig(segment_length=5, supervised_truncation=4, auxiliary_truncation=4)
      >>> model = AuxiliaryRNN(config, SequenceSpec(length=20, channels=3, num_classes=10), cell=nn.GRUCell)
      >>> params = init_params(model, jax.random.key(0))
      >>> inputs, lengths, rows = jnp.ones((8, 20, 3)), jnp.full(8, 20), jnp.arange(8)
      >>> key, sizes = jax.random.key(1), dict(num_anchors=1, segment_length=5)
      >>> segments = {"reconstruct": draw_segments(key, "reconstruct", inputs, lengths, rows, **sizes)}
      >>> logits, decoded = jax.jit(model.apply)({"params": params}, inputs, None, segments)
      >>> logits.shape, decoded["reconstruct"].shape
      ((8, 10), (8, 1, 5, 3))
    """

    config: ModelConfig
    spec: SequenceSpec
    cell: CellFactory | None = None

    def setup(self) -> None:
        config, cell = self.config, self.cell or cell_factory(self.config.encoder, self.config.precision)
        matmul = MATMULS[config.precision]
        self.encoder = Encoder(cell(config.hidden_size), config.embedding_size, self.spec.vocabulary_size, matmul)
        self.head = MLPHead(config.head_sizes, self.spec.num_classes, config.dropconnect, matmul)
        self.decoders = {kind: Decoder(config, self.spec, cell) for kind in config.auxiliaries}

    def __call__(
        self,
        inputs: jax.Array,
        lengths: jax.Array | None = None,
        segments: Mapping[str, Segments] | None = None,
        classify: bool = True,
        deterministic: bool = True,
    ) -> tuple[jax.Array | None, dict[str, jax.Array]]:
        """Classifies sequences and decodes segments of them, each with the gradient that its truncation allows.

        Args:
          inputs: `[B, L, C]` float32 or, for tokens, int `[B, L]`; padded on the left.
          lengths: int32 `[B]`, the length of each example; None where no sequence is padded.
          segments: what to decode, by kind ('reconstruct', 'predict'), `A` segments of `S` elements per example.
          classify: whether to compute the logits, which pretraining does not need.
          deterministic: whether DropConnect is disabled.

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
        """Returns the states after the sequences, leaves `[B, H]` or None, and at the anchors, leaves `[B, A, H]`."""
        batch, length = inputs.shape[:2]
        windows = []
        if classify:
            ends = jnp.full((batch, 1), length, jnp.int32)
            windows.append(Windows(ends, self.config.supervised_truncation, latest=length))
        for kind, segment in segments.items():
            # With padding, a short sequence may have its prediction anchor within S elements of the end.
            ends_early = kind == "predict" and lengths is None
            latest = length - segment.inputs.shape[2] if ends_early else length
            windows.append(Windows(segment.anchors, self.config.auxiliary_truncation, latest))
        backend = select_backend(self.config.recurrence, self.encoder.cell)
        states = encode_windows(self.encoder, inputs, lengths, windows, backend)
        final = jax.tree.map(lambda s: s[:, 0], states.pop(0)) if classify else None
        return final, dict(zip(segments, states, strict=True))

    def classify(self, final: Carry, deterministic: bool = True) -> jax.Array:
        """Computes the logits `[B, K]` from the states after the sequences, leaves `[B, H]`."""
        return self.head(hidden_state(final), deterministic)

    def decode(self, kind: str, states: Carry, segment: Segments, deterministic: bool = True) -> jax.Array:
        """Computes the decoder's outputs `[B, A, S, ...]` from the states at the anchors, leaves `[B, A, H]`."""
        rows, previous = jax.tree.map(lambda s: s.reshape(-1, *s.shape[2:]), (states, segment.inputs))
        outputs = self.decoders[kind](rows, previous, deterministic)
        return outputs.reshape(*segment.anchors.shape, *outputs.shape[1:])
