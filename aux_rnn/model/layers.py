"""Layers that the encoder, the decoders and the classifier share."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen import initializers

from aux_rnn.recurrence.cells import Carry
from aux_rnn.recurrence.precision import MatMul, standard_promotion


class Dense(nn.Module):
    """A dense layer like flax's, in a given precision and with DropConnect.

    Attributes:
      features: the size of the output.
      matmul: the matrix product, see `precision.py`.
      dropconnect: the share of the entries of the matrix that are set to zero in training (Wan et al., 2013).
    """

    features: int
    matmul: MatMul = jnp.matmul
    dropconnect: float = 0.0

    @nn.compact
    @standard_promotion()
    def __call__(self, inputs: jax.Array, deterministic: bool = True) -> jax.Array:
        kernel = self.param("kernel", initializers.lecun_normal(), (inputs.shape[-1], self.features), jnp.float32)
        bias = self.param("bias", initializers.zeros, (self.features,), jnp.float32)
        if self.dropconnect > 0 and not deterministic:
            kept = jax.random.bernoulli(self.make_rng("dropconnect"), 1 - self.dropconnect, kernel.shape)
            kernel = jnp.where(kept, kernel / (1 - self.dropconnect), 0)
        return self.matmul(inputs, kernel) + bias


class Embedding(nn.Module):
    """A learned linear map of `C` values, or a table for tokens: `[..., C]` or int `[...]` to `[..., E]`."""

    features: int
    vocabulary_size: int
    matmul: MatMul = jnp.matmul

    @nn.compact
    def __call__(self, elements: jax.Array) -> jax.Array:
        if self.vocabulary_size:
            return nn.Embed(self.vocabulary_size, self.features, name="table")(elements)
        return Dense(self.features, self.matmul, name="linear")(elements)


class MLPHead(nn.Module):
    """A feed-forward network: hidden layers with ReLU, and a linear output layer with DropConnect."""

    sizes: tuple[int, ...]
    outputs: int
    dropconnect: float
    matmul: MatMul = jnp.matmul

    @nn.compact
    def __call__(self, inputs: jax.Array, deterministic: bool) -> jax.Array:
        """Maps `[..., H]` to `[..., outputs]`."""
        for size in self.sizes:
            inputs = nn.relu(Dense(size, self.matmul)(inputs))
        return Dense(self.outputs, self.matmul, self.dropconnect, name="output")(inputs, deterministic)


class StateProjection(nn.Module):
    """Maps a state to another size: a learned linear map of each of its arrays, the identity where the sizes agree."""

    features: int
    matmul: MatMul = jnp.matmul

    @nn.compact
    def __call__(self, state: Carry) -> Carry:
        def project(array: jax.Array) -> jax.Array:
            if array.shape[-1] == self.features:
                return array
            return Dense(self.features, self.matmul)(array)

        return jax.tree.map(project, state)
