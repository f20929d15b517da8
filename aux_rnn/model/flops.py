"""Counts the arithmetic of a training step from the settings, in multiply-adds (one is two FLOPs).

Counted are matrix products. The gradient of a product costs as much again for its input and for its matrix; an
embedding of data needs only the latter. Gates, losses and the optimizer are left out. `Compiled.cost_analysis()` is no
substitute, as XLA counts the body of a scan once.

A step is counted as the model defines it or, `folded`, as the work that is necessary: an embedding and the input matrix
that follows it are one matrix `[C, ...]`, of which a token takes a row.
"""

import itertools
from collections.abc import Sequence

from aux_rnn.config.fields import Truncation
from aux_rnn.config.settings import Config
from aux_rnn.config.spec import SequenceSpec
from aux_rnn.model.decoder import output_size
from aux_rnn.recurrence.cells import count_gates_and_states
from aux_rnn.recurrence.windows import is_untruncated

WITH_GRADIENT = 3  # products: forward, for the gradient of the input and for that of the matrix


def count_training_step(config: Config, spec: SequenceSpec, phase: str = "train", folded: bool = False) -> int:
    """Returns the multiply-adds of one training step on a whole batch.

    Args:
      config: the settings; an encoder 'transformer' is counted without decoders.
      spec: the form of the sequences.
      phase: 'pretrain' (the auxiliary loss alone) or 'train'.
      folded: see the docstring of this module; has no effect on a transformer.
    """
    model, length, batch_size = config.model, spec.length, config.run.batch_size
    if model.encoder == "transformer":
        encoder = count_transformer(length, channels_of(spec), model.transformer_layers, model.transformer_size)
        return batch_size * (encoder + count_head(config, spec, model.transformer_size))
    windows: list[tuple[int, Truncation, int]] = []
    if phase == "train":
        windows.append((1, model.supervised_truncation, length))
    for kind in model.auxiliaries:
        latest = length - model.segment_length if kind == "predict" else length
        windows.append((model.num_anchors, model.auxiliary_truncation, latest))
    total = count_windows(config, spec, windows, folded) + len(model.auxiliaries) * count_decoder(config, spec, folded)
    return batch_size * (total + (count_head(config, spec, model.hidden_size) if phase == "train" else 0))


def count_transformer(length: int, inputs: int, layers: int, size: int) -> int:
    """Returns the multiply-adds of a Transformer encoder, with gradient, on one sequence of `inputs` channels.

    Each layer has four projections `[d, d]`, a feed-forward network d - 2d - d, and attention of every element to every
    element, which grows with the square of the length.
    """
    layer = length * (4 * size**2 + 2 * size * 2 * size) + 2 * length**2 * size
    return WITH_GRADIENT * layers * layer + 2 * length * inputs * size


def count_windows(
    config: Config, spec: SequenceSpec, windows: Sequence[tuple[int, Truncation, int]], folded: bool
) -> int:
    """Counts `encode_windows` on one sequence, for each loss with (windows per sequence, truncation T, latest end)."""
    size = config.model.hidden_size
    recurrent = count_gates_and_states(config.model.encoder)[0] * size * size
    into_gates, into_gates_with_gradient = count_input(config, spec, size, folded)
    forward, with_gradient = recurrent + into_gates, WITH_GRADIENT * recurrent + into_gates_with_gradient
    any_full = any(is_untruncated(truncation, latest) for _, truncation, latest in windows)
    prefix = max(latest if is_untruncated(t, latest) else latest - int(t) for _, t, latest in windows)
    steps = sum(count * int(t) for count, t, latest in windows if not is_untruncated(t, latest))
    return prefix * (with_gradient if any_full else forward) + steps * with_gradient


def count_decoder(config: Config, spec: SequenceSpec, folded: bool) -> int:
    """Counts one decoder, with gradient, on its segments of one sequence."""
    model = config.model
    gates, states = count_gates_and_states(model.encoder)
    bottom = model.decoder_sizes[0]
    step = count_dense((model.decoder_sizes[-1], *model.decoder_head_sizes, output_size(model, spec)))
    step += gates * bottom * bottom
    step += sum(gates * (below + size) * size for below, size in itertools.pairwise(model.decoder_sizes))
    _, inputs = count_input(config, spec, bottom, folded)
    state_map = states * model.hidden_size * bottom if bottom != model.hidden_size else 0
    return model.num_anchors * (model.segment_length * (WITH_GRADIENT * step + inputs) + WITH_GRADIENT * state_map)


def count_input(config: Config, spec: SequenceSpec, size: int, folded: bool) -> tuple[int, int]:
    """Counts from an element to the gates of a layer of `size` units: forward, with gradient."""
    width, channels = count_gates_and_states(config.model.encoder)[0] * size, channels_of(spec)
    if folded:
        return channels * width, 2 * channels * width
    embedding, matrix = channels * config.model.embedding_size, config.model.embedding_size * width
    return embedding + matrix, 2 * embedding + WITH_GRADIENT * matrix


def count_head(config: Config, spec: SequenceSpec, size: int) -> int:
    """Counts the classifier, with gradient, on one state of `size` values."""
    return WITH_GRADIENT * count_dense((size, *config.model.head_sizes, spec.num_classes))


def count_dense(sizes: Sequence[int]) -> int:
    """Counts dense layers `sizes[0] -> sizes[1] -> ...` on one vector."""
    return sum(a * b for a, b in itertools.pairwise(sizes))


def channels_of(spec: SequenceSpec) -> int:
    """Returns the factors of an element in the product with its embedding, none for a token."""
    return 0 if spec.vocabulary_size else spec.channels
