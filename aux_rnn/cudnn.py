r"""LSTM layers by cuDNN on NVIDIA GPUs, through `jax.experimental.rnn`: the same function as a scan of `LSTMCell`s.

cuDNN runs all steps of all layers of one size in one call, and its kernels overlap layers and steps (Appleyard, Kocisky
and Blunsom, 2016, "Optimizing performance of recurrent neural networks on GPUs"; cuDNN: Chetlur et al., 2014).

**This has never run on a GPU.** Packing, windows and gradients are tested on CPUs with `jax.experimental.rnn.lstm_ref`
in place of the call: the reference that JAX holds its call of cuDNN against. No speed is known.

A call returns `h` of every step, but `c` only after the last step of each row. Every state that is wanted is therefore
the end of a row of its own (`CudnnEncoder.advance`). Rows may have any lengths but 0, with which cuDNN fails (jax issue
17966): such rows run a step, and keep the state they had.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import rnn

from aux_rnn.fused import Layer, State, as_layer, fold, hold
from aux_rnn.sequences import take_elements

# Steps a call of the encoder. A call writes down all its gates, even where no gradient is wanted, and jaxlib counts
# these bytes in 32 bits: all of a long sequence could be neither held nor counted.
CHUNK = 256


class CudnnEncoder(NamedTuple):
    """An LSTM layer and the embedding before it.

    Attributes:
      layer: the layer; with an embedding of values, that is folded into it.
      table: `[vocabulary_size, E]`, the embedding of tokens, which cuDNN cannot look up; None for values.
    """

    layer: Layer
    table: jax.Array | None

    @classmethod
    def of(cls, cell: Mapping[str, jax.Array], embedding: Mapping[str, Any]) -> "CudnnEncoder":
        """From the parameters of an `LSTMCell` and of the `Embedding` before it."""
        if "table" in embedding:
            return cls(as_layer(cell), embedding["table"]["embedding"])
        return cls(fold(cell, embedding), None)

    def embed(self, elements: jax.Array) -> jax.Array:
        """What the layer reads of elements `[..., C]` or tokens `[...]`."""
        return elements if self.table is None else self.table[elements]

    def initial_state(self, *shape: int) -> State:
        zeros = jnp.zeros((*shape, len(self.layer.recurrent)), self.layer.recurrent.dtype)
        return zeros, zeros

    def advance(self, states: State, inputs: jax.Array, starts: jax.Array, ends: jax.Array, steps: int) -> State:
        """Runs `W` parts of each sequence side by side, every one from its own start to its own end.

        Args:
          states: `s[start]`, leaves `[B, W, H]`.
          inputs: `[B, L, C]` or, for tokens, `[B, L]`.
          starts: int32 `[B, W]`.
          ends: int32 `[B, W]`, from `starts` to `starts + steps`.
          steps: of the longest part there can be, at least 1.

        Returns:
          `s[end]`, leaves `[B, W, H]`.
        """
        rows, chunk = starts.size, min(steps, CHUNK)
        own_start = jnp.zeros(len(inputs), jnp.int32)  # A part starts no earlier than its sequence.

        def run_chunk(flat: State, done: jax.Array) -> tuple[State, None]:
            begin, end = jnp.minimum(starts + done, ends), jnp.minimum(starts + done + chunk, ends)
            elements = take_elements(inputs, begin[:, :, None] + jnp.arange(chunk), own_start)
            elements = jnp.swapaxes(elements.reshape(rows, chunk, *inputs.shape[2:]), 0, 1)
            (flat,), _ = run_lstm((self.layer,), (flat,), self.embed(elements), (end - begin).reshape(rows))
            return flat, None

        flat = jax.tree.map(lambda s: s.reshape(rows, -1), states)
        flat, _ = jax.lax.scan(run_chunk, flat, jnp.arange(0, steps, chunk))
        return jax.tree.map(lambda s: s.reshape(*starts.shape, -1), flat)


def pack(layers: Sequence[Layer]) -> jax.Array:
    """cuDNN's one vector of parameters: of each layer the two matrices, `[4H, inputs]` row by row, then all biases.

    A layer's gates lie in our order, `i, f, g, o`. cuDNN adds two biases, of which ours is the first.
    """
    matrices = [matrix.T.reshape(-1) for layer in layers for matrix in (layer.kernel, layer.recurrent)]
    biases = [bias for layer in layers for bias in (layer.bias, jnp.zeros_like(layer.bias))]
    return jnp.concatenate(matrices + biases)


def lstm(
    inputs: jax.Array, h: jax.Array, c: jax.Array, weights: jax.Array, lengths: jax.Array, **sizes: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The call of cuDNN: `jax.experimental.rnn.lstm`, in one direction and without dropout."""
    precision = jax.lax.Precision.HIGHEST  # Anything less takes TF32, with 10 bits of mantissa.
    return rnn.lstm(inputs, h, c, weights, lengths, dropout=0.0, bidirectional=False, precision=precision, **sizes)


def run_lstm(
    layers: Sequence[Layer], states: Sequence[State], inputs: jax.Array, lengths: jax.Array | None = None
) -> tuple[tuple[State, ...], jax.Array]:
    """Runs `T` steps, each run of layers of one size in one call.

    Args:
      layers: bottom first; each reads the hidden part of the one below.
      states: `(c, h)` of each layer before the first step, each `[R, H]`.
      inputs: `[T, R, C]`.
      lengths: int32 `[R]`, from 0 to `T`, how many steps each row takes; None for all.

    Returns:
      The states after the last step of each row, and `h` of the top layer after every step, `[T, R, H]`, which means
      nothing past the end of its row.
    """
    steps, rows = inputs.shape[:2]
    lengths = jnp.full(rows, steps) if lengths is None else lengths
    outputs = jnp.swapaxes(inputs, 0, 1)
    final: list[State] = []
    for size, members in itertools.groupby(zip(layers, states, strict=True), lambda member: len(member[0].recurrent)):
        group, before = zip(*members, strict=True)
        c, h = (jnp.stack(leaves) for leaves in zip(*before, strict=True))
        sizes = {"input_size": outputs.shape[-1], "hidden_size": size, "num_layers": len(group)}
        taken = jnp.maximum(lengths, 1).astype(jnp.int32)
        outputs, h, c = lstm(outputs, h, c, pack(group), taken, **sizes)
        final += [hold(lengths > 0, after, old) for after, old in zip(zip(c, h, strict=True), before, strict=True)]
    return tuple(final), jnp.swapaxes(outputs, 0, 1)
