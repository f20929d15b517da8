"""Products of rounded factors with sums in float32, and what uses them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_gradients import PADDED, TOKENS, make_problem, truncate

from aux_rnn.recurrence.precision import MATMULS, bfloat16_matmul, highest_precision


def draw(random, *shape):
    return jnp.asarray(random.normal(size=shape), jnp.float32)


def rounded(x):
    return np.asarray(x.astype(jnp.bfloat16), np.float64)


def test_factors_are_rounded_and_sums_are_not():
    random = np.random.default_rng(0)
    a, b, weights = draw(random, 3, 5, 300), draw(random, 300, 7), draw(random, 3, 5, 7)
    product, pull = jax.vjp(bfloat16_matmul, a, b)
    assert product.dtype == jnp.float32
    np.testing.assert_allclose(product, rounded(a) @ rounded(b), rtol=1e-5, atol=1e-4)
    d_a, d_b = pull(weights)
    np.testing.assert_allclose(d_a, rounded(weights) @ rounded(b).T, rtol=1e-5, atol=1e-4)
    expected = np.einsum("abk,abn->kn", rounded(a), rounded(weights))
    np.testing.assert_allclose(d_b, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("recurrence", ["scan", "fused"])
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(truncate(7, 3, 2, lengths=PADDED, auxiliary="reconstruct"), id="pixels"),
        pytest.param(truncate("full", 3, 2, spec=TOKENS, lengths=PADDED), id="tokens"),
    ],
)
def test_losses_and_gradients_are_near_those_of_float32(settings, recurrence):
    """Within 2 % of the size of all gradients together; a factor is rounded by 2^-9, 0.2 %, at most."""
    results = []
    for precision in ("float32", "bfloat16"):
        problem = make_problem(recurrence=recurrence, precision=precision, **settings)
        results.append(jax.jit(jax.value_and_grad(lambda params, p=problem: p.losses(params)[0]))(problem.params))
    (exact, gradients), (near, near_gradients) = results
    assert float(near) == pytest.approx(float(exact), rel=0.01)
    assert float(near) != float(exact), "nothing was rounded"
    error = optax.tree.sub(near_gradients, gradients)
    assert optax.tree.norm(error) < 0.02 * optax.tree.norm(gradients)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(near_gradients))


def test_tensorfloat32_is_float32_on_a_cpu():
    a, b = np.random.default_rng(0).normal(size=(2, 64, 64)).astype(np.float32)
    np.testing.assert_array_equal(jax.jit(MATMULS["tensorfloat32"])(a, b), jax.jit(MATMULS["float32"])(a, b))


@pytest.mark.skipif(jax.default_backend() != "gpu", reason="TensorFloat-32 needs an NVIDIA GPU")
def test_tensorfloat32_is_near_float32_on_a_gpu():
    a, b = np.random.default_rng(0).normal(size=(2, 256, 256)).astype(np.float32)
    exact = a.astype(np.float64) @ b
    errors = {
        name: np.linalg.norm(np.asarray(highest_precision(MATMULS[name])(a, b)) - exact) / np.linalg.norm(exact)
        for name in ("float32", "tensorfloat32", "bfloat16")
    }
    assert errors["float32"] < 1e-6 < errors["tensorfloat32"] < 1e-3 < errors["bfloat16"] < 1e-2
