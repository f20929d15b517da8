"""The method on one page (Trinh, Dai, Luong and Le, 2018, section 3).

    loss = L_sup + w (L_rec + L_pred)         training; pretraining minimizes L_rec + L_pred

    L_sup  = CE(head(s_T[L]), label)          s_T[t]: the state after t elements, differentiable over its last T steps
    L_rec  = err(decode(s_T[a]), x[a-S : a])  a ~ Uniform{S, ..., L}
    L_pred = err(decode(s_T[a]), x[a : a+S])  a ~ Uniform{1, ..., L-S}

L: length of the sequence x. S: length of a segment. w: weight of the auxiliary losses. T: truncation, one for L_sup and
one for L_rec and L_pred. CE: cross-entropy. err: squared error, or cross-entropy for tokens.

`compute_losses` computes the terms and `total_loss` sums them. `segments.py` draws the anchors and `losses.py` defines
the errors; `recurrence/windows.py` stops the gradients of the encoder, and `recurrence/scan.py` those of the decoder.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from aux_rnn.config.fields import ConfigError
from aux_rnn.config.settings import ModelConfig
from aux_rnn.config.spec import SequenceSpec, check_segment
from aux_rnn.model.inputs import Batch
from aux_rnn.model.losses import auxiliary_loss, supervised_loss
from aux_rnn.model.metric_names import CLASSIFIER_METRICS
from aux_rnn.model.metrics import Mean, Metrics
from aux_rnn.model.network import AuxiliaryRNN
from aux_rnn.model.segments import Segments, draw_segments, input_dropout
from aux_rnn.model.transformer import Transformer
from aux_rnn.recurrence.precision import standard_promotion

OutputLoss = Callable[[jax.Array], Mean]


class Losses(NamedTuple):
    """The classifier's outputs, and the terms of the loss before they are weighted and summed.

    A term is a sum with a count, so that those of several devices can be combined exactly.

    Attributes:
      outputs: `[B, K]`, the classifier's logits; None in pretraining.
      supervised: the loss of the outputs; None in pretraining.
      auxiliary: the auxiliary losses by kind ('reconstruct', 'predict').
    """

    outputs: jax.Array | None
    supervised: Mean | None
    auxiliary: dict[str, Mean]

    def map_means(self, function: Callable[[Mean], Mean]) -> "Losses":
        """Applies a function to every term."""
        supervised = None if self.supervised is None else function(self.supervised)
        return Losses(self.outputs, supervised, {kind: function(mean) for kind, mean in self.auxiliary.items()})


def compute_losses(
    model: nn.Module, params: Any, key: jax.Array, batch: Batch, supervised_loss_fn: OutputLoss | None
) -> Losses:
    """Computes all terms of the loss of a batch.

    Args:
      model: an `AuxiliaryRNN` or a `Transformer`.
      params: its parameters.
      key: a random key, a different one for each step.
      batch: the sequences.
      supervised_loss_fn: computes the supervised loss from the outputs `[B, K]`; None in pretraining.

    Returns:
      The terms, each with a gradient that reaches back as far as its truncation.

    Source: Trinh, Dai, Luong and Le (2018), section 3.
    """
    anchor_key, dropconnect_key = jax.random.split(key)
    segments = draw_all_segments(model.config, anchor_key, batch)
    outputs, decoded = model.apply(
        {"params": params},
        batch.inputs,
        batch.lengths,
        segments,
        classify=supervised_loss_fn is not None,
        deterministic=False,
        rngs={"dropconnect": dropconnect_key},
    )
    supervised = supervised_loss_fn(outputs) if supervised_loss_fn else None
    auxiliary = {kind: auxiliary_loss(decoded[kind], segments[kind], batch.mask) for kind in segments}
    return Losses(outputs, supervised, auxiliary)


def total_loss(losses: Losses, weight: float) -> jax.Array:
    """Returns `supervised + weight * (sum of the auxiliary losses)`, or in pretraining the sum without the weight."""
    auxiliary = sum(mean.compute() for mean in losses.auxiliary.values())
    if losses.supervised is None:
        return jnp.asarray(auxiliary)
    return losses.supervised.compute() + weight * auxiliary


def draw_all_segments(config: ModelConfig, key: jax.Array, batch: Batch) -> dict[str, Segments]:
    """Draws the segments of every auxiliary loss in use, each with its own keys, and drops inputs of the decoder."""
    inputs, rows = batch.inputs, batch.rows
    lengths = jnp.full(inputs.shape[0], inputs.shape[1], jnp.int32) if batch.lengths is None else batch.lengths
    segments = {}
    for number, kind in enumerate(config.auxiliaries):
        anchor_key, input_key = jax.random.split(jax.random.fold_in(key, number))
        sizes = dict(num_anchors=config.num_anchors, segment_length=config.segment_length)
        drawn = draw_segments(anchor_key, kind, inputs, lengths, rows, **sizes)
        segments[kind] = input_dropout(input_key, drawn, rows, config.decoder_input_dropout)
    return segments


def evaluate_losses(model: nn.Module, params: Any, batch: Batch, other_states: Callable[[Any, Batch], Any]) -> Metrics:
    """Computes the metrics of evaluation: accuracy, all losses and the memory gains.

    The memory gain is the increase of an auxiliary loss when the decoder starts from the state of another example
    (`*_memory_gain`) or from zeros (`*_memory_gain_zeroed`). Anchors and input dropout, which is part of the decoder's
    task, are drawn with a constant key and are the same in every evaluation of a run. DropConnect is off.

    Args:
      model: an `AuxiliaryRNN` or a `Transformer`.
      params: its parameters.
      batch: the sequences, with labels.
      other_states: `(states, batch) -> states`, gives each example the states of another one, as
        `roll_states_over_batch` does.

    Returns:
      `supervised_loss`, `accuracy`, and `{kind}_loss`, `{kind}_memory_gain`, `{kind}_memory_gain_zeroed` for each
      auxiliary loss.
    """
    apply: Callable[..., Any] = partial(model.apply, {"params": params})
    segments = draw_all_segments(model.config, jax.random.key(0), batch)
    if not segments:
        return classifier_metrics(apply(batch.inputs, batch.lengths)[0], batch)
    final, states = apply(batch.inputs, batch.lengths, segments, classify=True, method="encode")
    metrics = classifier_metrics(apply(final, method="classify"), batch)
    for kind, segment in segments.items():
        origins = states[kind], other_states(states[kind], batch), jax.tree.map(jnp.zeros_like, states[kind])
        true, other, zeroed = (
            auxiliary_loss(apply(kind, origin, segment, method="decode"), segment, batch.mask) for origin in origins
        )
        metrics[f"{kind}_loss"] = true
        metrics[f"{kind}_memory_gain"] = Mean(other.total - true.total, true.count)
        metrics[f"{kind}_memory_gain_zeroed"] = Mean(zeroed.total - true.total, true.count)
    return metrics


def classifier_metrics(logits: jax.Array, batch: Batch) -> Metrics:
    """Returns the cross-entropy and the metrics of logits `[B, K]`."""
    return {"supervised_loss": supervised_loss(logits, batch.labels, batch.mask), **logit_metrics(logits, batch)}


def logit_metrics(logits: jax.Array, batch: Batch) -> Metrics:
    """Returns the metrics of logits `[B, K]` in `metric_names.py` that have `values`, such as the accuracy."""
    return {name: Mean.of(values(logits, batch.labels), batch.mask) for name, values in CLASSIFIER_METRICS.items()}


def loss_metrics(losses: Losses) -> Metrics:
    """Returns the terms of the loss by the names of their metrics."""
    supervised = {} if losses.supervised is None else {"supervised_loss": losses.supervised}
    return supervised | {f"{kind}_loss": mean for kind, mean in losses.auxiliary.items()}


@standard_promotion()
def joint_loss(
    model: AuxiliaryRNN,
    params: Any,
    key: jax.Array,
    inputs: jax.Array,
    loss: Callable[[jax.Array], jax.Array],
    lengths: jax.Array | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Adds the auxiliary losses to a loss of your own.

    Computes `loss(outputs) + auxiliary_weight * (sum of the auxiliary losses)`, where the gradient of each term is
    truncated as `model.config` says. This is a pure function, to be differentiated, jitted and mapped as you like.

    Args:
      model: the network. It has `model.spec.num_classes` outputs, which need not be classes.
      params: its parameters, see `init_params`.
      key: a random key, a different one for each step; the anchors are drawn with it.
      inputs: floats `[B, L, C]` or, for tokens, integers `[B, L]`; padded on the left.
      loss: a function from the outputs `[B, num_classes]` to a scalar.
      lengths: integers `[B]`, the length of each sequence; None where no sequence is padded.

    Returns:
      The sum, and the auxiliary losses by kind, before they are weighted; computed in JAX's default type of floats.

    Raises:
      ConfigError: `inputs` or `lengths` do not match `model.spec`, its sequences are shorter than a segment, or `loss`
        does not return a scalar.

    Source: Trinh, Dai, Luong and Le (2018), section 3.

    Examples:
      With flax's GRU cell and a squared error:

      >>> from flax import linen as nn
      >>> config = ModelConfig(segment_length=5, supervised_truncation=4, auxiliary_truncation=4)
      >>> model = AuxiliaryRNN(config, SequenceSpec(length=20, channels=3, num_classes=10), cell=nn.GRUCell)
      >>> params = init_params(model, jax.random.key(0))
      >>> inputs, targets = jnp.ones((8, 20, 3)), jnp.zeros((8, 10))
      >>> @jax.jit
      ... @partial(jax.value_and_grad, has_aux=True)
      ... def step(params, key):
      ...     return joint_loss(model, params, key, inputs, lambda outputs: jnp.mean((outputs - targets) ** 2))
      >>> (loss, auxiliary), gradients = step(params, jax.random.key(1))
      >>> loss.shape, list(auxiliary)
      ((), ['reconstruct'])
    """
    check_segment(model.config, model.spec)
    check_batch(model.spec, inputs, lengths)
    params, inputs = jax.tree.map(to_default_float, (params, inputs))
    batch = Batch(inputs, lengths, rows=jnp.arange(len(inputs)), mask=jnp.ones(len(inputs), bool))

    def supervised_loss_fn(outputs: jax.Array) -> Mean:
        value = jnp.asarray(loss(outputs))
        if value.shape:
            raise ConfigError(f"loss: returns an array {list(value.shape)}; must return a scalar, such as its mean")
        return Mean(value, jnp.ones((), value.dtype))

    losses = compute_losses(model, params, key, batch, supervised_loss_fn)
    auxiliary = {kind: mean.compute() for kind, mean in losses.auxiliary.items()}
    return total_loss(losses, model.config.auxiliary_weight), auxiliary


def to_default_float(array: jax.Array) -> jax.Array:
    """Returns floats as JAX's default type, float32 unless the program has enabled 64 bits; others as they are."""
    is_float = jnp.issubdtype(jnp.result_type(array), jnp.floating)
    return jnp.asarray(array, jnp.result_type(float) if is_float else None)


def check_batch(spec: SequenceSpec, inputs: jax.Array, lengths: jax.Array | None) -> None:
    """Raises ConfigError unless the inputs have the shape and type of the specification, and each has one length."""
    if jnp.shape(inputs)[1:] != spec.shape:
        shape = ", ".join(map(str, spec.shape))
        raise ConfigError(f"inputs: have the shape {list(jnp.shape(inputs))}; must be [B, {shape}], as the spec says")
    wanted, kind = ("integers", jnp.integer) if spec.vocabulary_size else ("floats", jnp.floating)
    if not jnp.issubdtype(jnp.result_type(inputs), kind):
        raise ConfigError(f"inputs: are {jnp.result_type(inputs)}; must be {wanted}, as the spec says")
    if lengths is None:
        return
    if jnp.shape(lengths) != jnp.shape(inputs)[:1] or not jnp.issubdtype(jnp.result_type(lengths), jnp.integer):
        found = f"{jnp.result_type(lengths)} {list(jnp.shape(lengths))}"
        raise ConfigError(f"lengths: are {found}; must be integers [B]; for a mask of elements, give mask.sum(axis=1)")


def make_model(config: ModelConfig, spec: SequenceSpec) -> nn.Module:
    """Makes the network that `config.encoder` names."""
    return (Transformer if config.encoder == "transformer" else AuxiliaryRNN)(config, spec)


@standard_promotion()
def init_params(model: nn.Module, key: jax.Array) -> Any:
    """Initializes the parameters of a network.

    Args:
      model: an `AuxiliaryRNN` or another network with the same arguments.
      key: a random key, `jax.random.key(seed)`.

    Returns:
      Nested dictionaries of float32 arrays. They do not depend on the length of the sequences.

    Examples:
      >>> model = AuxiliaryRNN(ModelConfig(), SequenceSpec(length=784, channels=1, num_classes=10))
      >>> params = init_params(model, jax.random.key(0))
      >>> params["encoder"]["cell"]["recurrent_kernel"].shape
      (128, 512)
    """
    spec = model.spec
    # A short sequence suffices because parameters do not depend on its length.
    short = jnp.zeros((1, 2), jnp.int32) if spec.vocabulary_size else jnp.zeros((1, 2, spec.channels))
    segments = {
        kind: Segments(jnp.ones((1, 1), jnp.int32), short[:, None, :1], short[:, None, :1], jnp.ones((1, 1, 1), bool))
        for kind in model.config.auxiliaries
    }
    return jax.jit(model.init)(key, short, None, segments)["params"]
