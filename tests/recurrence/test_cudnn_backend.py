"""The LSTM by cuDNN: on a CPU with JAX's own reference in place of the call, on a GPU by the call itself.

`jax.experimental.rnn.lstm_ref` takes the same arguments, except for unpacked parameters. Neither it nor the call says
what becomes of rows that end before the others. The reference returns each row's state after its own last step, as
cuDNN does with the unpacked layout that JAX asks of it, and zeros for outputs past that, which nothing here reads.

On a machine with an NVIDIA GPU: `JAX_PLATFORMS=cuda pytest tests/recurrence/test_cudnn_backend.py`.
"""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import rnn
from jax.extend.core import jaxprs_in_params
from test_gradients import (
    NAIVE_CASES,
    PADDED,
    TOKENS,
    check_against_naive,
    check_windows,
    make_problem,
    quick_jit,
    randomize,
    truncate,
)

from aux_rnn.config import serialization
from aux_rnn.config.fields import ConfigError
from aux_rnn.config.settings import Config, ModelConfig
from aux_rnn.config.spec import check_platform
from aux_rnn.recurrence import cudnn_backend as cudnn
from aux_rnn.recurrence import fused_lstm as fused
from aux_rnn.training import experiment

LSTM_CASES = [case for case in NAIVE_CASES if "library" not in case and "levels" not in case]


def reference(inputs, h, c, weights, lengths, **sizes):
    """`cudnn.lstm` in plain JAX, in whatever precision its arguments have."""
    assert lengths.dtype == jnp.int32
    unpacked = rnn.unpack_lstm_weights(weights, bidirectional=False, **sizes)
    return rnn.lstm_ref(inputs, h, c, *unpacked, lengths, dropout=0.0, bidirectional=False, **sizes)


@pytest.fixture
def as_reference(monkeypatch):
    """The reference in place of cuDNN, in float64; calls of three steps, so that several make up a window."""
    monkeypatch.setattr(cudnn, "lstm", reference)
    monkeypatch.setattr(cudnn, "STEPS_PER_CALL", 3)
    with jax.enable_x64(True):
        yield


def make_layers(random, *sizes):
    def draw(*shape):
        return jnp.asarray(random.normal(0, 0.6, shape), float)

    pairs = itertools.pairwise(sizes)
    return tuple(fused.LSTMParams(draw(below, 4 * h), draw(h, 4 * h), draw(4 * h)) for below, h in pairs)


# ---- The layers


def test_parameters_lie_where_jax_says():
    layers = make_layers(np.random.default_rng(0), 3, 4, 4)
    packed = cudnn.pack_weights(layers)
    assert packed.shape == (rnn.get_num_params_in_lstm(3, 4, 2, bidirectional=False),)
    kernels, recurrents, biases, second = rnn.unpack_lstm_weights(packed, 3, 4, 2, bidirectional=False)
    for k, layer in enumerate(layers):
        actual = fused.LSTMParams(kernels[k].T, recurrents[k].T, biases[k])
        chex.assert_trees_all_equal(actual, layer)
        np.testing.assert_array_equal(second[k], 0)


@pytest.mark.usefixtures("as_reference")
@pytest.mark.parametrize("sizes", [(3, 4), (3, 4, 4), (3, 5, 4), (4, 4, 5, 5)])
@pytest.mark.parametrize("has_lengths", [False, True])
def test_values_and_gradients_equal_those_of_the_fused_layers(sizes, has_lengths):
    random, steps, lengths = np.random.default_rng(0), 6, jnp.array([6, 0, 2, 1])
    layers = make_layers(random, *sizes)
    states = randomize([(np.empty((4, h)), np.empty((4, h))) for h in sizes[1:]], seed=1)
    inputs, weight = randomize([np.empty((steps, 4, sizes[0])), np.empty((steps, 4, sizes[-1]))], seed=2)
    active = jnp.arange(steps)[:, None] < (lengths if has_lengths else steps)
    active = jnp.broadcast_to(active, (steps, 4))

    def by_cudnn(layers, states, inputs):
        final, outputs = cudnn.run_lstm(layers, states, inputs, lengths if has_lengths else None)
        return final, jnp.where(active[:, :, None], outputs, 0)

    def by_fused(layers, states, inputs):
        final, (_, outputs) = fused.run_lstm(layers, states, inputs, mask=active)
        return final, jnp.where(active[:, :, None], outputs, 0)

    def make_loss(run):
        def loss(*arguments):
            final, outputs = run(*arguments)
            return jnp.vdot(weight, outputs) + sum(jnp.sum(jnp.sin(s)) for s in jax.tree.leaves(final)), final

        return quick_jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))

    arguments = layers, tuple(states), inputs
    chex.assert_trees_all_close(
        make_loss(by_cudnn)(*arguments), make_loss(by_fused)(*arguments), rtol=1e-10, atol=1e-12
    )


# ---- The method


@pytest.mark.usefixtures("as_reference")
@pytest.mark.parametrize("case", LSTM_CASES)
def test_losses_and_gradients_equal_the_naive_method(case):
    check_against_naive(make_problem(seed=1, recurrence="cudnn", **NAIVE_CASES[case]), classify=True)


@pytest.mark.usefixtures("as_reference")
@pytest.mark.parametrize("truncation", [0, "full"])
def test_pretraining_equals_the_naive_method_for_decoder_layers_of_one_size(truncation):
    sizes = {"decoder_sizes": (5, 5), "decoder_truncation": 2}
    problem = make_problem(
        lengths=PADDED, auxiliary="predict", auxiliary_truncation=truncation, recurrence="cudnn", seed=2, **sizes
    )
    check_against_naive(problem, classify=False)


WINDOW_CASES = {
    "pixels, padded": truncate(7, 3, 2, lengths=PADDED, auxiliary="reconstruct"),
    "pixels, one loss without a cut": truncate(3, "full", 3, auxiliary="predict"),
    "tokens, padded": truncate(7, 3, 2, lengths=PADDED, spec=TOKENS, auxiliary="reconstruct"),
}


@pytest.mark.usefixtures("as_reference")
@pytest.mark.parametrize("case", WINDOW_CASES)
def test_gradient_reaches_exactly_the_window(case):
    check_windows(make_problem(decoder_sizes=(5,), recurrence="cudnn", **WINDOW_CASES[case]))


@pytest.mark.usefixtures("as_reference")
def test_an_empty_text_keeps_the_zero_state():
    spread = truncate(3, 3, 2, auxiliary="none", spec=TOKENS, lengths=(12, 0, 3))
    actual, expected = (
        quick_jit(jax.value_and_grad(lambda params, p=problem: p.losses(params)[0]))(problem.params)
        for problem in (make_problem(recurrence=recurrence, **spread) for recurrence in ("cudnn", "fused"))
    )
    chex.assert_trees_all_close(actual, expected, rtol=1e-9, atol=1e-12)


# ---- The call itself


def count_calls(jaxpr, counts):
    """Adds up how often each primitive of cuDNN stands in a program."""
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name.startswith("rnn_"):
            assert not equation.params["cudnn_allow_tf32"]
            counts[name] = counts.get(name, 0) + 1
        for sub in jaxprs_in_params(equation.params):
            count_calls(sub, counts)
    return counts


@pytest.mark.parametrize(("sizes", "decoder_calls"), [((5, 5), 1), ((5, 4), 2)])
def test_a_training_step_is_a_program_of_cudnn(monkeypatch, sizes, decoder_calls):
    # Without a GPU the call can at least be traced once it is told how much a call keeps.
    monkeypatch.setattr(rnn.gpu_rnn, "compute_rnn_workspace_reserve_space_sizes", lambda *sizes: (1, 1), raising=False)
    problem = make_problem(
        lengths=PADDED, recurrence="cudnn", auxiliary="reconstruct", decoder_sizes=sizes, **truncate(3, 3, "full")
    )
    gradient = jax.make_jaxpr(jax.grad(lambda params: problem.losses(params)[0]))(problem.params)
    calls = count_calls(gradient.jaxpr, {})
    # Forward the prefix, too, which has no gradient.
    assert calls == {"rnn_fwd": 2 + decoder_calls, "rnn_bwd": 1 + decoder_calls}


@pytest.mark.skipif(jax.default_backend() != "gpu", reason="cuDNN needs an NVIDIA GPU; the module says how to run this")
@pytest.mark.parametrize("case", LSTM_CASES)
def test_cudnn_equals_the_fused_recurrence_on_a_gpu(case):
    """Compares in float32, the only precision of the call; see the docstring of this file."""
    results = []
    with jax.default_matmul_precision("highest"):
        for recurrence in ("cudnn", "fused"):
            problem = make_problem(seed=1, recurrence=recurrence, **NAIVE_CASES[case])
            results.append(jax.jit(jax.value_and_grad(problem.losses, has_aux=True))(problem.params))
    chex.assert_trees_all_close(*results, rtol=1e-4, atol=1e-5)


# ---- Settings


def test_other_cells_say_that_they_have_no_cudnn():
    with pytest.raises(
        ConfigError, match=r"^--recurrence=cudnn: must be auto or scan with --encoder=gru; cudnn is for lstm$"
    ):
        ModelConfig(encoder="gru", recurrence="cudnn")


def test_a_run_without_an_nvidia_gpu_says_so(tiny, monkeypatch):
    config = serialization.from_flat(serialization.to_flat(tiny) | {"recurrence": "cudnn"})
    message = r"^--recurrence=cudnn: must be auto, scan or fused on cpu devices; cudnn needs an NVIDIA GPU$"
    if jax.default_backend() == "cpu":
        with pytest.raises(ConfigError, match=message):
            experiment.check(config)
    check_platform(config, "gpu", has_cuda=True)
    check_platform(Config(), "cpu", has_cuda=False)
    with pytest.raises(ConfigError, match="on gpu devices"):
        check_platform(config, "gpu", has_cuda=False)
