"""The precision of matrix products; parameters, states, sums and losses are float32 in any case."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

MatMul = Callable[[jax.Array, jax.Array], jax.Array]  # [..., K] and [K, N] to [..., N]


def exact(function: Callable) -> Callable:
    """The function with products in full float32; left to themselves GPUs and TPUs round the factors."""
    return jax.default_matmul_precision("highest")(function)


@jax.custom_vjp
def bfloat16_matmul(a: jax.Array, b: jax.Array) -> jax.Array:
    """`a b` of factors rounded to bfloat16, added up in float32, as are both products of its gradient.

    The factors have 8 bits of mantissa, so an entry is good to about 2^-8 of the largest of its terms.

    Args:
      a: float32 `[..., K]`.
      b: float32 `[K, N]`.

    Returns:
      float32 `[..., N]`.
    """
    return multiply_rounded(a, b)


def multiply_rounded(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a.astype(jnp.bfloat16), b.astype(jnp.bfloat16), preferred_element_type=jnp.float32)


def matmul_forward(a: jax.Array, b: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return multiply_rounded(a, b), (a, b)


def matmul_backward(kept: tuple[jax.Array, jax.Array], d_product: jax.Array) -> tuple[jax.Array, jax.Array]:
    a, b = kept
    rows = d_product.reshape(-1, d_product.shape[-1])
    return multiply_rounded(d_product, b.T), multiply_rounded(a.reshape(len(rows), -1).T, rows)


bfloat16_matmul.defvjp(matmul_forward, matmul_backward)

MATMULS: dict[str, MatMul] = {"float32": jnp.matmul, "bfloat16": bfloat16_matmul}


def as_dot_general(matmul: MatMul) -> Callable[..., jax.Array]:
    """The product in the form in which a layer of flax takes it."""

    def dot_general(lhs: jax.Array, rhs: jax.Array, *unused: object, **unused_too: object) -> jax.Array:
        del unused, unused_too  # a dense layer contracts the last axis with the first one
        return matmul(lhs, rhs)

    return dot_general
