"""A loss of the caller with the auxiliary losses: the sum that is asked for, and no gradient past a truncation."""

import contextlib
import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from aux_rnn import AuxiliaryRNN, ConfigError, ModelConfig, SequenceSpec, init_params, joint_loss

SPEC = SequenceSpec(length=12, channels=2, num_classes=1)
SMALL = dict(embedding_size=3, hidden_size=4, head_sizes=(4,), decoder_sizes=(4,), decoder_head_sizes=(4,))
SMALL |= dict(segment_length=4, supervised_truncation=3, auxiliary_truncation=2)
FLOATS = np.zeros((3, 12, 2))


@functools.cache
def make(**options):
    model = AuxiliaryRNN(ModelConfig(**{**SMALL, **options}), SPEC, cell=nn.OptimizedLSTMCell)
    return model, init_params(model, jax.random.key(0)), jax.random.normal(jax.random.key(1), (5, 12, 2))


def square(outputs):
    return jnp.mean(outputs**2)


def jit_loss(model, loss=square):
    """Returns `joint_loss` as a compiled function of the parameters, the key and the inputs."""
    return jax.jit(lambda params, key, inputs: joint_loss(model, params, key, inputs, loss))


def test_the_sum_is_of_the_own_loss_and_the_weighted_auxiliary_losses():
    model, params, inputs = make(auxiliary="both", auxiliary_weight=3.0)
    loss = jit_loss(model)
    total, auxiliary = loss(params, jax.random.key(2), inputs)
    outputs, _ = jax.jit(model.apply)({"params": params}, inputs)
    assert set(auxiliary) == {"reconstruct", "predict"}
    chex.assert_trees_all_close(
        total, square(outputs) + 3 * (auxiliary["reconstruct"] + auxiliary["predict"]), rtol=1e-6
    )
    again, other = (loss(params, jax.random.key(key), inputs)[0] for key in (2, 3))
    assert total == again != other, "the key draws the anchors"


def test_the_gradient_of_the_own_loss_ends_at_its_truncation():
    model, params, inputs = make(auxiliary="none")
    gradient = jax.grad(lambda x: jit_loss(model)(params, jax.random.key(2), x)[0])(inputs)
    assert (gradient[:, :9] == 0).all()
    assert (gradient[:, 9:] != 0).any(axis=(0, 2)).all()


STRICT = [(jax.enable_x64, True), (jax.numpy_dtype_promotion, "strict"), (jax.numpy_rank_promotion, "raise")]
STRICT += [(jax.debug_nans, True), (jax.default_prng_impl, "rbg")]
OPTIONS = {"pixels": {}, "cell": {"cell": nn.GRUCell}, "scan": {"recurrence": "scan"}, "tokens": {"vocabulary_size": 7}}
OPTIONS |= {"bfloat16": {"precision": "bfloat16"}, "bfloat16 scan": {"precision": "bfloat16", "recurrence": "scan"}}


@pytest.mark.parametrize("name", OPTIONS)
def test_programs_with_stricter_settings_of_jax_have_the_loss_and_its_gradient(name):
    """Traced only, which is where types and ranks matter."""
    options = {**SMALL, "auxiliary": "both", "dropconnect": 0.5, "decoder_input_dropout": 0.5, **OPTIONS[name]}
    spec = SequenceSpec(length=12, channels=2, num_classes=1, vocabulary_size=options.pop("vocabulary_size", 0))
    cell = {"cell": options.pop("cell")} if "cell" in options else {}
    lengths = np.array([12, 7, 3])
    with contextlib.ExitStack() as stack:
        for setting, value in STRICT:
            stack.enter_context(setting(value))
        model = AuxiliaryRNN(ModelConfig(**options), spec, **cell)
        inputs = np.ones((3, 12), int) if spec.vocabulary_size else np.ones((3, 12, 2), np.float32)  # not the default
        params = jax.eval_shape(functools.partial(init_params, model), jax.random.key(0))

        def loss(params, key):
            return joint_loss(model, params, key, inputs, square, lengths)[0]

        value, gradient = jax.eval_shape(jax.value_and_grad(loss), params, jax.random.key(1))
        assert value.dtype == jnp.result_type(float)
        chex.assert_trees_all_equal_shapes_and_dtypes(gradient, params)


@pytest.mark.parametrize(
    ("inputs", "lengths", "options", "message"),
    [
        (np.zeros((3, 12, 2), np.uint8), None, {}, "inputs: are uint8; must be floats, as the spec says"),
        (np.zeros((3, 5, 2)), None, {}, "inputs: have the shape [3, 5, 2]; must be [B, 12, 2], as the spec"),
        (np.zeros((3, 12)), None, {}, "inputs: have the shape [3, 12]; must be [B, 12, 2], as the spec"),
        (FLOATS, np.ones((3, 12), bool), {}, "lengths: are bool [3, 12]; must be integers [B]; for a mask"),
        (FLOATS, np.ones(2, int), {}, "[2]; must be integers [B]"),
        (FLOATS, None, dict(segment_length=13), "segment_length=13: must be at most 12 to reconstruct"),
    ],
)
def test_inputs_lengths_and_segments_that_do_not_fit_are_refused(inputs, lengths, options, message):
    model = AuxiliaryRNN(ModelConfig(**{**SMALL, **options}), SPEC)
    with pytest.raises(ConfigError, match=re.escape(message)):
        joint_loss(model, {}, jax.random.key(0), inputs, square, lengths)


def test_a_loss_that_is_no_scalar_is_refused():
    model, params, inputs = make(auxiliary="none")
    with pytest.raises(ConfigError, match=r"^loss: returns an array \[5\]; must return a scalar"):
        jax.eval_shape(jit_loss(model, lambda outputs: outputs[:, 0]), params, jax.random.key(2), inputs)
