"""The supervised loss and the auxiliary losses, as totals and counts.

Totals and counts give a batch that is divided over devices the same loss as the undivided batch, even where the shares
hold different numbers of targets.
"""

import jax
import jax.numpy as jnp
import optax

from aux_rnn.model.metrics import Mean
from aux_rnn.model.segments import Segments


def supervised_loss(logits: jax.Array, labels: jax.Array, mask: jax.Array) -> Mean:
    """Computes the cross-entropy of the classifier in nats.

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
    """Computes the error of a decoder, averaged over targets so that it does not depend on the length of the segment.

    The error is the cross-entropy in nats for tokens. For pixels it is the squared error or, where the decoder outputs
    logits of their levels, the cross-entropy in nats; both are averaged over channels.

    Args:
      outputs: `[B, A, S, C]` or logits `[B, A, S, C, levels]`, for tokens logits `[B, A, S, vocabulary_size]`.
      segments: the targets.
      mask: bool `[B]`, false for rows that only fill the batch.

    Source: Trinh, Dai, Luong and Le (2018), sections 3.1 and 3.2, which do not specify the loss of pixels.

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
