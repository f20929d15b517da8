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
from aux_rnn.settings import ConfigError
from aux_rnn.transformer import Transformer

Batch = dict[str, Any]
ReadInputs = Callable[[Batch], tuple[jax.Array, jax.Array | None]]


def make_model(config: ModelConfig, spec: SequenceSpec) -> nn.Module:
    return (Transformer if config.encoder == "transformer" else AuxiliaryRNN)(config, spec)


def init_params(model: nn.Module, key: jax.Array) -> Any:
    """The parameters that a network begins with.

    Args:
      model: an `AuxiliaryRNN`, or another network that takes its arguments.
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
    # Parameters do not depend on lengths, so a short sequence makes them.
    short = jnp.zeros((1, 2), jnp.int32) if spec.vocabulary_size else jnp.zeros((1, 2, spec.channels))
    segments = {
        kind: Segments(jnp.ones((1, 1), jnp.int32), short[:, None, :1], short[:, None, :1], jnp.ones((1, 1, 1), bool))
        for kind in model.config.auxiliaries
    }
    return jax.jit(model.init)(key, short, None, segments)["params"]


def make_reader(spec: SequenceSpec, permutation: np.ndarray | None) -> ReadInputs:
    """The function from a batch to what the model reads.

    Values float32 `[B, L, C]` (pixels in [0, 1], other values as they are) or tokens int32 `[B, L]`, and the lengths
    int32 `[B]`, None where no sequence is padded.
    """

    def read(batch: Batch) -> tuple[jax.Array, jax.Array | None]:
        inputs, lengths = batch["inputs"], batch.get("lengths")
        if spec.vocabulary_size:
            return inputs.astype(jnp.int32), lengths
        if jnp.issubdtype(inputs.dtype, jnp.floating):
            return inputs, lengths
        return image_to_sequence(inputs, permutation), lengths

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


def run_in_training(
    config: ModelConfig,
    model: nn.Module,
    params: Any,
    key: jax.Array,
    inputs: jax.Array,
    lengths: jax.Array | None,
    rows: jax.Array,
    mask: jax.Array,
    classify: bool = True,
) -> tuple[Any, Metrics]:
    """What the network says of whole sequences (None unless it is to classify), and the auxiliary losses by kind."""
    anchor_key, dropconnect_key = jax.random.split(key)
    segments = make_segments(config, anchor_key, inputs, lengths, rows)
    rngs = {"dropconnect": dropconnect_key}
    outputs, decoded = model.apply({"params": params}, inputs, lengths, segments, classify, False, rngs=rngs)
    return outputs, {kind: auxiliary_loss(decoded[kind], segments[kind], mask) for kind in decoded}


def joint_loss(
    model: AuxiliaryRNN,
    params: Any,
    key: jax.Array,
    inputs: jax.Array,
    loss: Callable[[jax.Array], jax.Array],
    lengths: jax.Array | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """A loss of your own on what the network says of whole sequences, and the auxiliary losses beside it.

    `loss(outputs) + auxiliary_weight * (sum of the auxiliary losses)`, where the gradient of each reaches as far as
    `model.config` says. A pure function, to be differentiated, jitted and mapped as you like.

    Args:
      model: the network. Its outputs are as many as `model.spec.num_classes`; they need be no classes.
      params: its parameters, see `init_params`.
      key: a random key, for each step another: it draws the anchors.
      inputs: float32 `[B, L, C]` or, for tokens, int32 `[B, L]`; padded on the left.
      loss: from the outputs `[B, num_classes]` to a scalar.
      lengths: int32 `[B]`, each sequence's own length; None where none is padded.

    Returns:
      The sum, and the auxiliary losses by kind, before they are weighted.

    Raises:
      ConfigError: `inputs` are not as `model.spec` says, or `loss` gives no scalar.

    Source: Trinh, Dai, Luong and Le (2018), section 3.

    Examples:
      The cell is flax's, the loss a squared error.

      >>> from flax import linen as nn
      >>> config = ModelConfig(segment_length=5, supervised_truncation=4, auxiliary_truncation=4)
      >>> model = AuxiliaryRNN(config, SequenceSpec(length=20, channels=3, num_classes=1), cell=nn.GRUCell)
      >>> params = init_params(model, jax.random.key(0))
      >>> inputs, targets = jnp.ones((8, 20, 3)), jnp.zeros((8, 1))
      >>> def objective(params, key):
      ...     return joint_loss(model, params, key, inputs, lambda outputs: jnp.mean((outputs - targets) ** 2))
      >>> (loss, auxiliary), gradients = jax.value_and_grad(objective, has_aux=True)(params, jax.random.key(1))
      >>> loss.shape, list(auxiliary)
      ((), ['reconstruct'])
    """
    check_batch(model.spec, inputs)
    rows, mask = jnp.arange(len(inputs)), jnp.ones(len(inputs), bool)
    outputs, means = run_in_training(model.config, model, params, key, inputs, lengths, rows, mask)
    auxiliary = {kind: mean.compute() for kind, mean in means.items()}
    own = loss(outputs)
    if jnp.shape(own):
        raise ConfigError(f"loss: gives an array {list(jnp.shape(own))}; must give a scalar, such as its mean")
    return own + model.config.auxiliary_weight * sum(auxiliary.values()), auxiliary


def check_batch(spec: SequenceSpec, inputs: jax.Array) -> None:
    """Raises ConfigError unless these are sequences as the specification says, `[B, L, C]` or tokens `[B, L]`."""
    expected = (spec.length,) if spec.vocabulary_size else (spec.length, spec.channels)
    if jnp.shape(inputs)[1:] != expected or jnp.ndim(inputs) == 0:
        wanted = ", ".join(map(str, expected))
        raise ConfigError(f"inputs: have the shape {list(jnp.shape(inputs))}; must be [B, {wanted}], as the spec says")


def make_losses(config: Config, model: nn.Module, read: ReadInputs) -> Callable[..., Metrics]:
    """The function `(params, batch, key, classify) -> metrics` for training."""

    def losses(params: Any, batch: Batch, key: jax.Array, classify: bool) -> Metrics:
        rows, mask = batch["rows"], batch["mask"]
        logits, means = run_in_training(config.model, model, params, key, *read(batch), rows, mask, classify)
        measured = classifier_metrics(logits, batch) if classify else {}
        return measured | {f"{kind}_loss": mean for kind, mean in means.items()}

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
