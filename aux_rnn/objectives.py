"""From a batch to what is minimised and what is measured; knows nothing of devices."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from aux_rnn.config import Config, ModelConfig, SequenceSpec
from aux_rnn.losses import auxiliary_loss, memory_gain, supervised_loss
from aux_rnn.metrics import Mean, Metrics
from aux_rnn.models import AuxiliaryRNN
from aux_rnn.sequences import Segments, draw_segments, drop_inputs, image_to_sequence
from aux_rnn.transformer import Transformer

Batch = dict[str, Any]
ReadInputs = Callable[[Batch], tuple[jax.Array, jax.Array | None]]


def make_model(config: ModelConfig, spec: SequenceSpec) -> nn.Module:
    return (Transformer if config.encoder == "transformer" else AuxiliaryRNN)(config, spec)


def make_reader(spec: SequenceSpec, permutation: np.ndarray | None) -> ReadInputs:
    """The function from a batch to what the model reads.

    Pixels float32 `[B, L, C]` without lengths, or tokens int32 `[B, L]` with their lengths int32 `[B]`.
    """

    def read(batch: Batch) -> tuple[jax.Array, jax.Array | None]:
        if spec.vocabulary_size:
            return batch["inputs"].astype(jnp.int32), batch["lengths"]
        return image_to_sequence(batch["inputs"], permutation), None

    return read


def make_segments(
    config: ModelConfig, key: jax.Array, inputs: jax.Array, lengths: jax.Array | None, rows: jax.Array
) -> dict[str, Segments]:
    """Draws the segments of every auxiliary loss in use, each from its own keys."""
    own = jnp.full(inputs.shape[0], inputs.shape[1], jnp.int32) if lengths is None else lengths
    segments = {}
    for number, kind in enumerate(config.auxiliaries):
        anchor_key, input_key = jax.random.split(jax.random.fold_in(key, number))
        drawn = draw_segments(anchor_key, kind, inputs, own, rows, config.num_anchors, config.segment_length)
        segments[kind] = drop_inputs(input_key, drawn, rows, config.decoder_input_dropout)
    return segments


def make_losses(config: Config, model: nn.Module, read: ReadInputs) -> Callable[..., Metrics]:
    """The function `(params, batch, key, classify) -> metrics` for training."""

    def losses(params: Any, batch: Batch, key: jax.Array, classify: bool) -> Metrics:
        inputs, lengths = read(batch)
        anchor_key, dropconnect_key = jax.random.split(key)
        segments = make_segments(config.model, anchor_key, inputs, lengths, batch["rows"])
        rngs = {"dropconnect": dropconnect_key}
        logits, decoded = model.apply({"params": params}, inputs, lengths, segments, classify, False, rngs=rngs)
        measured = classifier_metrics(logits, batch) if classify else {}
        for kind, outputs in decoded.items():
            measured[f"{kind}_loss"] = auxiliary_loss(outputs, segments[kind], batch["mask"])
        return measured

    return losses


def make_measure(
    config: Config, model: nn.Module, read: ReadInputs, lend: Callable[[Any, Batch], Any]
) -> Callable[..., Metrics]:
    """The function `(params, batch) -> metrics` for evaluation.

    Beside the losses and the accuracy it measures, for every auxiliary loss, the memory gain: with the decoder started
    from another example's state (`*_memory_gain`) and from zeros (`*_memory_gain_zeroed`).

    Args:
      config: the experiment's.
      model: as `make_model` makes it.
      read: as `make_reader` makes it.
      lend: `(states, batch) -> states`, which gives each example another one's.
    """
    # The anchors are the same in every evaluation of every run.
    key = jax.random.key(0)

    def measure(params: Any, batch: Batch) -> Metrics:
        apply: Callable[..., Any] = partial(model.apply, {"params": params})
        (inputs, lengths), mask = read(batch), batch["mask"]
        segments = make_segments(config.model, key, inputs, lengths, batch["rows"])
        if not segments:
            return classifier_metrics(apply(inputs, lengths)[0], batch)
        final, states = apply(inputs, lengths, segments, True, method="encode")
        measured = classifier_metrics(apply(final, method="classify"), batch)
        for kind, segment in segments.items():
            own = states[kind]
            true, other, zeroed = (
                auxiliary_loss(apply(kind, origin, segment, method="decode"), segment, mask)
                for origin in (own, lend(own, batch), jax.tree.map(jnp.zeros_like, own))
            )
            measured[f"{kind}_loss"] = true
            measured[f"{kind}_memory_gain"] = memory_gain(true, other)
            measured[f"{kind}_memory_gain_zeroed"] = memory_gain(true, zeroed)
        return measured

    return measure


def classifier_metrics(logits: jax.Array, batch: Batch) -> Metrics:
    return {
        "supervised_loss": supervised_loss(logits, batch["labels"], batch["mask"]),
        "accuracy": Mean.of(logits.argmax(-1) == batch["labels"], batch["mask"]),
    }
