"""The arithmetic of a training step, counted from the settings: how long a run may take before it was ever tried.

Counted are the multiply-adds of matrix products, per example. A product costs as much again for the gradient of its
input and of its matrix; the embedding of data needs the latter only. Gates, losses and the optimizer are left out.
A step is counted as the model defines it or, `folded`, as the work that it needs: an embedding and the input matrix
after it are one matrix `[C, ...]`, of which tokens only take a row.
"""

import itertools
from collections.abc import Sequence

from aux_rnn.config import Config, SequenceSpec
from aux_rnn.decoder import output_size
from aux_rnn.settings import Truncation
from aux_rnn.windows import is_untruncated

# Matrices [inputs + features, features] a step, and arrays of state, of each recurrent cell.
GATES = {"lstm": 4, "gru": 3, "mgu": 2, "simple": 1}
STATES = {"lstm": 2}

FORWARD, WITH_GRADIENT = 1, 3


def count_dense(sizes: Sequence[int]) -> int:
    """Multiply-adds of a chain of dense layers, input size first."""
    return sum(a * b for a, b in itertools.pairwise(sizes))


def count_input(config: Config, spec: SequenceSpec, size: int, folded: bool) -> tuple[int, int]:
    """Multiply-adds from one element to what it adds to the gates of a layer, forward, and with the gradient.

    Args:
      config: the cell and its embedding.
      spec: what an element is; it is data, so that nothing needs its gradient.
      size: H of the layer.
      folded: whether embedding and input matrix are one.
    """
    width = GATES[config.model.encoder] * size
    channels = 0 if spec.vocabulary_size else spec.channels
    if folded:
        return channels * width, 2 * channels * width
    embedding, matrix = channels * config.model.embedding_size, config.model.embedding_size * width
    return embedding + matrix, 2 * embedding + WITH_GRADIENT * matrix


def count_encoder_steps(config: Config, spec: SequenceSpec, steps: int, has_gradient: bool, folded: bool) -> int:
    """Multiply-adds of the recurrent encoder over so many steps of one sequence."""
    size = config.model.hidden_size
    recurrent = GATES[config.model.encoder] * size * size
    forward, with_gradient = count_input(config, spec, size, folded)
    return steps * (WITH_GRADIENT * recurrent + with_gradient if has_gradient else recurrent + forward)


def count_windows(
    config: Config, spec: SequenceSpec, windows: Sequence[tuple[int, Truncation, int]], folded: bool
) -> int:
    """Multiply-adds of `encode_windows`: the pass that captures states, and the windows from there.

    Args:
      config: the sizes of the encoder.
      spec: what the sequences are.
      windows: (windows an example, T, latest end) of each loss.
      folded: see the module's docstring.
    """
    any_full = any(is_untruncated(truncation, latest) for _, truncation, latest in windows)
    prefix = max(latest if is_untruncated(t, latest) else latest - int(t) for _, t, latest in windows)
    total = count_encoder_steps(config, spec, prefix, any_full, folded)
    for count, truncation, latest in windows:
        if not is_untruncated(truncation, latest):
            total += count * count_encoder_steps(config, spec, int(truncation), True, folded)
    return total


def count_decoder(config: Config, spec: SequenceSpec, folded: bool) -> int:
    """Multiply-adds of one decoder, forward and backward, over its segments of one sequence."""
    model = config.model
    bottom = model.decoder_sizes[0]
    step = count_dense((model.decoder_sizes[-1], *model.decoder_head_sizes, output_size(model, spec)))
    step += GATES[model.encoder] * bottom * bottom
    for below, size in itertools.pairwise(model.decoder_sizes):
        step += GATES[model.encoder] * (below + size) * size
    _, inputs = count_input(config, spec, bottom, folded)
    state_map = STATES.get(model.encoder, 1) * model.hidden_size * bottom if bottom != model.hidden_size else 0
    return model.num_anchors * (model.segment_length * (WITH_GRADIENT * step + inputs) + WITH_GRADIENT * state_map)


def count_transformer(length: int, inputs: int, layers: int, size: int) -> int:
    """Multiply-adds of a Transformer encoder, forward and backward, on one sequence.

    Each layer has four projections [d, d], a feed-forward network d - 2d - d, and attention of every element to every
    element, which grows with the square of the length.

    Args:
      length: L.
      inputs: channels of an element, 0 for tokens.
      layers: how many.
      size: width d.
    """
    layer = length * (4 * size**2 + 2 * size * 2 * size) + 2 * length**2 * size
    return WITH_GRADIENT * layers * layer + 2 * length * inputs * size


def count_training_step(config: Config, spec: SequenceSpec, phase: str = "train", folded: bool = False) -> int:
    """Multiply-adds of one step on a whole batch.

    Args:
      config: the settings; an encoder 'transformer' is counted without decoders.
      spec: what the sequences are.
      phase: 'pretrain' (the auxiliary loss alone) or 'train'.
      folded: see the module's docstring; of no effect on a transformer.
    """
    model, length = config.model, spec.length
    head = WITH_GRADIENT * count_dense((model.hidden_size, *model.head_sizes, spec.num_classes))
    if model.encoder == "transformer":
        layers, size = model.transformer_layers, model.transformer_size
        inputs = 0 if spec.vocabulary_size else spec.channels
        head = WITH_GRADIENT * count_dense((size, *model.head_sizes, spec.num_classes))
        return config.run.batch_size * (count_transformer(length, inputs, layers, size) + head)
    windows: list[tuple[int, Truncation, int]] = []
    if phase == "train":
        windows.append((1, model.supervised_truncation, length))
    for kind in model.auxiliaries:
        latest = length - model.segment_length if kind == "predict" else length
        windows.append((model.num_anchors, model.auxiliary_truncation, latest))
    total = count_windows(config, spec, windows, folded) + len(model.auxiliaries) * count_decoder(config, spec, folded)
    return config.run.batch_size * (total + (head if phase == "train" else 0))
