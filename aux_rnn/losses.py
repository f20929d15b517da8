"""The supervised loss, the auxiliary losses and their weighted sum, as totals and counts.

Totals and counts rather than means, so that a batch divided over devices has the same loss as the undivided one even
where the shares hold different numbers of targets.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax

from aux_rnn.metrics import Mean
from aux_rnn.sequences import Segments


def supervised_loss(logits: jax.Array, labels: jax.Array, mask: jax.Array) -> Mean:
    """Cross-entropy of the classifier, in nats.

    Args:
      logits: `[B, K]`.
      labels: int `[B]`.
      mask: bool `[B]`, false for rows that only fill the batch.

    Examples:
      >>> logits = jnp.zeros((3, 4))  # four classes, equally likely: log 4
      >>> round(float(supervised_loss(logits, jnp.array([0, 1, 2]), jnp.ones(3, bool)).compute()), 3)
      1.386
    """
    return Mean.of(optax.softmax_cross_entropy_with_integer_labels(logits, labels), mask)


def auxiliary_loss(outputs: jax.Array, segments: Segments, mask: jax.Array) -> Mean:
    """Error of a decoder, a mean over targets, so that its size does not depend on the length of the segment.

    Cross-entropy in nats for tokens. For pixels squared error, or, where the decoder put out logits of their levels,
    cross-entropy in nats; both averaged over channels.

    Args:
      outputs: `[B, A, S, C]` or logits `[B, A, S, C, levels]`, for tokens logits `[B, A, S, vocabulary_size]`.
      segments: what was asked for.
      mask: bool `[B]`, false for rows that only fill the batch.

    Source: Trinh, Dai, Luong and Le (2018), sections 3.1 and 3.2, which leave the loss of pixels open.

    Examples:
      >>> targets = jnp.full((2, 1, 5, 3), 0.5)
      >>> segments = Segments(jnp.full((2, 1), 7), targets, targets, jnp.ones((2, 1, 5), bool))
      >>> float(auxiliary_loss(jnp.zeros((2, 1, 5, 3)), segments, jnp.ones(2, bool)).compute())
      0.25
    """
    targets = segments.targets
    if jnp.issubdtype(targets.dtype, jnp.integer):
        errors = optax.softmax_cross_entropy_with_integer_labels(outputs, targets)
    elif outputs.ndim > targets.ndim:
        levels = jnp.rint(targets * (outputs.shape[-1] - 1)).astype(jnp.int32)
        errors = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(outputs, levels), axis=-1)
    else:
        errors = jnp.mean(jnp.square(outputs - targets), axis=-1)
    return Mean.of(errors, segments.mask & mask[:, None, None])


def memory_gain(true: Mean, other: Mean) -> Mean:
    """What the state at the anchor is worth to the decoder: its loss from another state minus that from the true one.

    Args:
      true: the auxiliary loss with the decoder started from the encoder's state.
      other: the same targets, and so the same count, from a state that cannot know them.
    """
    return Mean(other.total - true.total, true.count)


def total_loss(supervised: Mean | None, auxiliary: Mapping[str, Mean], weight: float) -> jax.Array:
    """`supervised + weight * (sum of the auxiliary losses)`; pretraining, without a supervised loss, is unweighted."""
    terms = sum(mean.compute() for mean in auxiliary.values())
    return jnp.asarray(terms if supervised is None else supervised.compute() + weight * terms)
