"""The settings of JAX that this library is written for, whatever the program that calls it has chosen."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax

STANDARD: tuple[tuple[Any, Any], ...] = (
    (jax.enable_x64, False),
    (jax.numpy_dtype_promotion, "standard"),
    (jax.numpy_rank_promotion, "allow"),
    (jax.debug_nans, False),
    (jax.debug_infs, False),
    (jax.debug_key_reuse, False),
    (jax.check_tracer_leaks, False),
    (jax.legacy_prng_key, "allow"),
    (jax.default_prng_impl, "threefry2x32"),
    (jax.threefry_partitionable, True),
    (jax.transfer_guard, "allow"),
    (jax.disable_jit, False),
)


@contextlib.contextmanager
def standard_jax() -> Iterator[None]:
    """Sets what JAX is by default in this thread, and restores the program's own settings at the end.

    A network is float32 and the same for the same seed, even in a program with 64-bit types or another random
    generator; and a run reports what is not finite itself.
    """
    with contextlib.ExitStack() as stack:
        for setting, value in STANDARD:
            stack.enter_context(setting(value))
        yield
