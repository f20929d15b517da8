"""The Transformer baseline: attention over the own elements only, and the size that the docstring states."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aux_rnn.config.fields import ConfigError
from aux_rnn.config.settings import ModelConfig
from aux_rnn.config.spec import SequenceSpec
from aux_rnn.model.network import AuxiliaryRNN
from aux_rnn.model.transformer import Transformer

SMALL = dict(encoder="transformer", auxiliary="none", transformer_layers=2, transformer_size=8, transformer_heads=2)
TEXT = SequenceSpec(length=9, channels=1, num_classes=3, vocabulary_size=11)


@functools.cache
def make_text():
    config = ModelConfig(**SMALL, head_sizes=(6,))
    model = Transformer(config, TEXT)
    tokens = jnp.asarray(np.random.default_rng(0).integers(11, size=(2, 9)))
    return jax.jit(model.apply), jax.jit(model.init)(jax.random.key(0), tokens), tokens


def test_padding_changes_nothing():
    apply, variables, tokens = make_text()
    expected, _ = apply(variables, tokens[:, 4:], jnp.array([5, 5]))
    padded, _ = apply(variables, tokens, jnp.array([5, 5]))
    chex.assert_trees_all_close(padded, expected, rtol=1e-5)
    whole, _ = apply(variables, tokens)
    chex.assert_trees_all_close(apply(variables, tokens, jnp.array([9, 9]))[0], whole, rtol=1e-5)
    assert not np.allclose(whole, padded, rtol=1e-3)


def test_every_element_counts_and_so_does_its_place():
    apply, variables, tokens = make_text()
    logits, decoded = apply(variables, tokens)
    assert decoded == {}
    for position in range(9):
        changed = tokens.at[0, position].set((tokens[0, position] + 1) % 11)
        other, _ = apply(variables, changed)
        assert not np.allclose(other[0], logits[0], rtol=1e-6)
        np.testing.assert_array_equal(other[1], logits[1])
    backwards, _ = apply(variables, tokens[:, ::-1])
    assert not np.allclose(backwards, logits, rtol=1e-4)


def test_size_is_comparable_to_that_of_the_lstm():
    pixels = SequenceSpec(length=784, channels=1, num_classes=10)

    def count(model, part):
        params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 2, 1)))["params"]
        return sum(leaf.size for name in params if name.startswith(part) for leaf in jax.tree.leaves(params[name]))

    layers = count(Transformer(ModelConfig(encoder="transformer", auxiliary="none"), pixels), "TransformerLayer")
    assert layers == pytest.approx(count(AuxiliaryRNN(ModelConfig(auxiliary="none"), pixels), "encoder"), rel=0.03)


def test_what_has_no_state_cannot_be_decoded_from():
    with pytest.raises(ConfigError, match=r"auxiliary=reconstruct: must be none with encoder=transformer"):
        ModelConfig(encoder="transformer", auxiliary="reconstruct")
    with pytest.raises(ConfigError, match=r"transformer_heads=3: must be a divisor of transformer_size=8"):
        ModelConfig(**{**SMALL, "transformer_heads": 3})
