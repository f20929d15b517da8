"""How much memory a training step takes, estimated from the settings before anything is compiled.

Counted is what is kept of every example for the backward pass, in float32; the estimate is held against what XLA
allocates (tests/test_footprint.py). Parameters are small beside it and counted apart, to refuse sizes that are not.
"""

import itertools

from aux_rnn.config import Config, ModelConfig, SequenceSpec
from aux_rnn.cost import GATES, STATES, count_dense
from aux_rnn.decoder import output_size
from aux_rnn.settings import reject
from aux_rnn.windows import is_untruncated

# Arrays of H values kept a step: the gates by a gradient written by hand, and states and their gradients beside them
# where no window cuts the pass; what automatic differentiation keeps, as measured, for each gate of a cell.
BY_HAND, BY_HAND_UNCUT, AUTOMATIC = 4, 7, 3.5
ATTENTION = 2.5  # scores, weights and their gradient, not all at the same time
TRANSFORMER = 24  # arrays of width d a step and layer, besides

COPIES = 3  # of the parameters: themselves, their gradient, and what the optimizer keeps of it
SIZES = ("embedding_size", "hidden_size", "head_sizes", "decoder_sizes", "decoder_head_sizes", "transformer_size")


def arrays_a_step(model: ModelConfig, is_uncut: bool) -> float:
    """How many arrays of its size a recurrent layer keeps of a step."""
    if model.encoder != "lstm" or model.recurrence == "scan":
        return AUTOMATIC * GATES[model.encoder]
    return BY_HAND_UNCUT if is_uncut else BY_HAND


def count_encoder_values(config: Config, spec: SequenceSpec) -> float:
    """Values kept of one example's windows."""
    model, length = config.model, spec.length
    windows = [(1, model.supervised_truncation)]
    windows += [(model.num_anchors, model.auxiliary_truncation)] * len(model.auxiliaries)
    is_uncut = any(is_untruncated(truncation, length) for _, truncation in windows)
    steps = sum(count * int(truncation) for count, truncation in windows if not is_untruncated(truncation, length))
    values = steps * model.hidden_size * arrays_a_step(model, is_uncut=False)
    return values + is_uncut * length * model.hidden_size * arrays_a_step(model, is_uncut=True)


def count_decoder_values(config: Config, spec: SequenceSpec) -> float:
    """Values kept of one example by one decoder: its layers, and what they put out with its gradient."""
    model = config.model
    by_hand = arrays_a_step(model, is_uncut=False)
    layers = by_hand if model.teacher_forcing else max(by_hand, AUTOMATIC * GATES[model.encoder])
    put_out = model.decoder_sizes[-1] + sum(model.decoder_head_sizes) + output_size(model, spec)
    step = layers * sum(model.decoder_sizes) + 2 * put_out
    return model.num_anchors * model.segment_length * step


def count_step_bytes(config: Config, spec: SequenceSpec) -> int:
    """Bytes that a training step takes on all devices together."""
    model, length = config.model, spec.length
    values: float = 3 * length * spec.channels  # the inputs, their order in time, and one copy
    if model.encoder == "transformer":
        attention = ATTENTION * model.transformer_heads * length**2
        values += model.transformer_layers * (attention + TRANSFORMER * length * model.transformer_size)
    else:
        values += count_encoder_values(config, spec)
        values += len(model.auxiliaries) * count_decoder_values(config, spec)
    return int(4 * config.run.batch_size * values)


def count_parameters(config: Config, spec: SequenceSpec) -> int:
    """Values in all matrices; a bias has few beside them."""
    model, inputs = config.model, spec.vocabulary_size or spec.channels
    if model.encoder == "transformer":
        size = model.transformer_size
        head = count_dense((size, *model.head_sizes, spec.num_classes))
        return (inputs + spec.length) * size + model.transformer_layers * 8 * size**2 + head
    encoder = count_recurrent(config, inputs, (model.hidden_size,))
    head = count_dense((model.hidden_size, *model.head_sizes, spec.num_classes))
    decoder = count_recurrent(config, inputs, model.decoder_sizes)
    decoder += count_dense((model.decoder_sizes[-1], *model.decoder_head_sizes, output_size(model, spec)))
    if model.decoder_sizes[0] != model.hidden_size:
        decoder += STATES.get(model.encoder, 1) * model.hidden_size * model.decoder_sizes[0]
    return encoder + head + len(model.auxiliaries) * decoder


def count_recurrent(config: Config, inputs: int, sizes: tuple[int, ...]) -> int:
    """Values in the matrices of an embedding and of recurrent layers on top of it, bottom first."""
    embedded = config.model.embedding_size
    layers = sum((below + size) * size for below, size in itertools.pairwise((embedded, *sizes)))
    return inputs * embedded + GATES[config.model.encoder] * layers


def check_parameters(config: Config, spec: SequenceSpec, available: int) -> None:
    """Raises ConfigError, naming the largest size, if the parameters alone take more memory than there is."""
    wanted = 4 * COPIES * count_parameters(config, spec)
    if wanted <= available:
        return

    def largest(name: str) -> int:
        value = getattr(config.model, name)
        return max(value) if isinstance(value, tuple) else value

    name = max(SIZES, key=largest)
    allowed = f"smaller: the parameters take about {wanted / 2**30:,.1f} GiB and there are {available / 2**30:,.1f}"
    raise reject(name, getattr(config.model, name), allowed)


def check_memory(config: Config, spec: SequenceSpec, available: int | None) -> None:
    """Raises ConfigError if a step takes more memory than there is.

    Args:
      config: the settings.
      spec: what the sequences are.
      available: bytes on all devices together, None if that is not known.
    """
    if available is None:
        return
    check_parameters(config, spec, available)
    wanted = count_step_bytes(config, spec)
    if wanted <= available:
        return
    most = config.run.batch_size * available // wanted
    allowed = f"at most {most}, or gradients cut shorter, or shorter sequences" if most else "on shorter sequences"
    raise reject(
        "batch_size",
        config.run.batch_size,
        f"{allowed}: a step on {spec.length:,} elements takes about {wanted / 2**30:,.1f} GiB "
        f"and there are {available / 2**30:,.1f}",
    )
