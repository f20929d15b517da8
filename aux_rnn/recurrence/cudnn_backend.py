r"""LSTM layers by cuDNN on NVIDIA GPUs, through `jax.experimental.rnn`: the same function as a scan of `LSTMCell`s.

cuDNN runs all steps of all layers of one size in one call, and its kernels overlap layers and steps (Appleyard, Kocisky
and Blunsom, 2016, "Optimizing performance of recurrent neural networks on GPUs"; cuDNN: Chetlur et al., 2014).

**This has never run on a GPU.** Packing, windows and gradients are tested on CPUs with `jax.experimental.rnn.lstm_ref`
in place of the call, the reference against which JAX tests its call of cuDNN. No speed is known.

A call returns `h` of every step, but `c` only after the last step of each row. Every requested state is therefore the
end of a row (`CudnnEncoder.run_parts`). cuDNN fails for rows of length 0 (jax issue 17966): such rows run one step and
keep their previous state.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import rnn

from aux_rnn.recurrence.fused_lstm import LSTMParams, State, fold_embedding, layer_params, where_rows
from aux_rnn.recurrence.padding import gather_padded, sequence_starts
from aux_rnn.recurrence.scan import run_chunks, stop_gradient

# Steps per call for the encoder. A call stores all its gates, even where no gradient is needed, and jaxlib counts these
# bytes in 32 bits, so a whole long sequence could be neither stored nor counted.
STEPS_PER_CALL = 256


class CudnnEncoder(NamedTuple):
    """An LSTM layer and the embedding before it.

    Attributes:
      params: the layer; an embedding of values is folded into it.
      table: `[vocabulary_size, E]`, the embedding of tokens, which cuDNN cannot look up; None for values.
    """

    params: LSTMParams
    table: jax.Array | None

    @classmethod
    def of(cls, cell: Mapping[str, jax.Array], embedding: Mapping[str, Any]) -> "CudnnEncoder":
        """Builds it from the parameters of an `LSTMCell` and of the `Embedding` before it."""
        if "table" in embedding:
            return cls(layer_params(cell), embedding["table"]["embedding"])
        return cls(fold_embedding(cell, embedding), None)

    def embed(self, elements: jax.Array) -> jax.Array:
        """Returns what the layer reads of elements `[..., C]` or tokens `[...]`."""
        return elements if self.table is None else self.table[elements]

    def run_parts(self, states: State, inputs: jax.Array, starts: jax.Array, ends: jax.Array, steps: int) -> State:
        """Runs `W` parts of each sequence side by side, each from its start to its end.

        Args:
          states: `s[start]`, leaves `[B, W, H]`.
          inputs: `[B, L, C]` or, for tokens, `[B, L]`.
          starts: int32 `[B, W]`.
          ends: int32 `[B, W]`, from `starts` to `starts + steps`.
          steps: of the longest possible part, at least 1.

        Returns:
          `s[end]`, leaves `[B, W, H]`.
        """
        rows, chunk = starts.size, min(steps, STEPS_PER_CALL)
        first = jnp.zeros(len(inputs), jnp.int32)  # A part starts no earlier than its sequence.

        def run_chunk(flat: State, done: jax.Array) -> tuple[State, None]:
            begin, end = jnp.minimum(starts + done, ends), jnp.minimum(starts + done + chunk, ends)
            elements = gather_padded(inputs, begin[:, :, None] + jnp.arange(chunk), first)
            elements = jnp.swapaxes(elements.reshape(rows, chunk, *inputs.shape[2:]), 0, 1)
            (flat,), _ = run_lstm((self.params,), (flat,), self.embed(elements), (end - begin).reshape(rows))
            return flat, None

        flat = jax.tree.map(lambda s: s.reshape(rows, -1), states)
        flat, _ = jax.lax.scan(run_chunk, flat, jnp.arange(0, steps, chunk))
        return jax.tree.map(lambda s: s.reshape(*starts.shape, -1), flat)


class CudnnBackend:
    """Runs the layers by cuDNN. See `backends.Backend` for the methods.

    Args:
      encoder: a bound `Encoder` with an `LSTMCell`.
    """

    def __init__(self, encoder: Any) -> None:
        self.encoder = CudnnEncoder.of(encoder.cell.variables["params"], encoder.embedding.variables["params"])

    def states_at(
        self, inputs: jax.Array, lengths: jax.Array | None, positions: jax.Array, steps: int, *, differentiable: bool
    ) -> State:
        encoder = self.encoder if differentiable else stop_gradient(self.encoder)
        inputs = inputs if differentiable else stop_gradient(inputs)
        starts = jnp.broadcast_to(sequence_starts(inputs, lengths)[:, None], positions.shape)
        zeros = jnp.zeros((*positions.shape, len(encoder.params.recurrent)), encoder.params.recurrent.dtype)
        return encoder.run_parts((zeros, zeros), inputs, starts, jnp.maximum(positions, starts), steps)

    def run_windows(
        self, states: State, inputs: jax.Array, lengths: jax.Array | None, ends: jax.Array, truncation: int
    ) -> State:
        starts = jnp.maximum(ends - truncation, sequence_starts(inputs, lengths)[:, None])
        return self.encoder.run_parts(states, inputs, starts, ends, truncation)

    @staticmethod
    def run_decoder(decoder: Any, states: tuple[State, ...], elements: jax.Array) -> jax.Array:
        bottom, *upper = [layer.variables["params"] for layer in decoder.layers]
        reader = CudnnEncoder.of(bottom, decoder.embedding.variables["params"])
        params = (reader.params, *map(layer_params, upper))
        return run_chunks(run_lstm, params, states, reader.embed(elements), decoder.config.decoder_truncation)[1]


def pack_weights(layers: Sequence[LSTMParams]) -> jax.Array:
    """Packs all parameters into cuDNN's vector: the two matrices of each layer, `[4H, inputs]`, then all biases.

    The gates have our order, `i, f, g, o`. cuDNN adds two biases, of which ours is the first.
    """
    matrices = [matrix.T.reshape(-1) for layer in layers for matrix in (layer.kernel, layer.recurrent)]
    biases = [bias for layer in layers for bias in (layer.bias, jnp.zeros_like(layer.bias))]
    return jnp.concatenate(matrices + biases)


def lstm(
    inputs: jax.Array, h: jax.Array, c: jax.Array, weights: jax.Array, lengths: jax.Array, **sizes: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Calls cuDNN through `jax.experimental.rnn.lstm`, in one direction and without dropout."""
    precision = jax.lax.Precision.HIGHEST  # Anything less takes TF32, with 10 bits of mantissa.
    return rnn.lstm(inputs, h, c, weights, lengths, dropout=0.0, bidirectional=False, precision=precision, **sizes)


def run_lstm(
    params: Sequence[LSTMParams], states: Sequence[State], inputs: jax.Array, lengths: jax.Array | None = None
) -> tuple[tuple[State, ...], jax.Array]:
    """Runs `T` steps, consecutive layers of one size in one call.

    Args:
      params: bottom layer first; each layer reads the hidden state of the layer below.
      states: `(c, h)` of each layer before the first step, each `[R, H]`.
      inputs: `[T, R, C]`.
      lengths: int32 `[R]`, from 0 to `T`, the number of steps of each row; None for all.

    Returns:
      The states after the last step of each row, and `h` of the top layer after every step, `[T, R, H]`, which is
      undefined after the end of a row.
    """
    steps, rows = inputs.shape[:2]
    lengths = jnp.full(rows, steps) if lengths is None else lengths
    outputs = jnp.swapaxes(inputs, 0, 1)
    final: list[State] = []
    for size, members in itertools.groupby(zip(params, states, strict=True), lambda member: len(member[0].recurrent)):
        group, before = zip(*members, strict=True)
        c, h = (jnp.stack(leaves) for leaves in zip(*before, strict=True))
        sizes = {"input_size": outputs.shape[-1], "hidden_size": size, "num_layers": len(group)}
        taken = jnp.maximum(lengths, 1).astype(jnp.int32)
        outputs, h, c = lstm(outputs, h, c, pack_weights(group), taken, **sizes)
        final += [
            where_rows(lengths > 0, after, old) for after, old in zip(zip(c, h, strict=True), before, strict=True)
        ]
    return tuple(final), jnp.swapaxes(outputs, 0, 1)
