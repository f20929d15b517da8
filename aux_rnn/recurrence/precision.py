"""The precision of matrix products; parameters, states, sums and losses are float32 in any case."""

import contextlib
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
from jax.extend.backend import get_backend

from aux_rnn.recurrence.scan import PLATFORM

MatMul = Callable[[jax.Array, jax.Array], jax.Array]  # [..., K] and [K, N] to [..., N]


def highest_precision(function: Callable) -> Callable:
    """Wraps a function so that products are computed in full float32; by default GPUs and TPUs round the factors."""
    return jax.default_matmul_precision("highest")(function)


@contextlib.contextmanager
def standard_promotion() -> Iterator[None]:
    """Promotes types and ranks as JAX does by default, in a strict program too; a context manager or a decorator."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@jax.custom_vjp
def bfloat16_matmul(a: jax.Array, b: jax.Array) -> jax.Array:
    """Multiplies factors rounded to bfloat16 and accumulates in float32; both products of the gradient do the same.

    The factors have 8 bits of mantissa, so the error of an entry is about 2^-8 of its largest term.

    Args:
      a: float32 `[..., K]`.
      b: float32 `[K, N]`.

    Returns:
      float32 `[..., N]`; in a program of 64 bits, of the type of `a`.
    """
    return bf16_product(a, b)


def bf16_product(a: jax.Array, b: jax.Array) -> jax.Array:
    product = jnp.matmul(a.astype(jnp.bfloat16), b.astype(jnp.bfloat16), preferred_element_type=jnp.float32)
    return product.astype(a.dtype)


def bfloat16_matmul_fwd(a: jax.Array, b: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return bf16_product(a, b), (a, b)


def bfloat16_matmul_bwd(residuals: tuple[jax.Array, jax.Array], d_product: jax.Array) -> tuple[jax.Array, jax.Array]:
    a, b = residuals
    rows = d_product.reshape(-1, d_product.shape[-1])
    return bf16_product(d_product, b.T), bf16_product(a.reshape(len(rows), -1).T, rows)


bfloat16_matmul.defvjp(bfloat16_matmul_fwd, bfloat16_matmul_bwd)


def tensorfloat32_matmul(a: jax.Array, b: jax.Array) -> jax.Array:
    """Multiplies factors with 10 bits of mantissa on NVIDIA GPUs, and in full float32 on other devices.

    The gradient of a product is computed in the same way.
    """
    # AMD's devices are 'gpu' to JAX, too; the GPU of a topology is one of NVIDIA.
    target = PLATFORM.get()
    has_tensorfloat32 = target == "gpu" or (target is None and "cuda" in get_backend().platform_version)
    precision = jax.lax.DotAlgorithmPreset.TF32_TF32_F32 if has_tensorfloat32 else jax.lax.Precision.HIGHEST
    return jnp.matmul(a, b, precision=precision)


MATMULS: dict[str, MatMul] = {
    "float32": jnp.matmul,
    "tensorfloat32": tensorfloat32_matmul,
    "bfloat16": bfloat16_matmul,
}
