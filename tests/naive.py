"""The method written a second time, as plainly as possible, as the reference for the library.

One example, one anchor and one time step at a time, in Python loops: nothing is batched, scanned or shared between
losses, every anchor runs its sequence again from the start, and `jax.lax.stop_gradient` stands exactly where the method
cuts. What `jax.grad` makes of it is therefore the gradient that the method defines.

Arrays are those of one example, without a batch axis: a state is `(c, h)` (LSTM) or `(h,)` (GRU), each `[H]`; an
element is `[C]` or a token `[]`. `params` is the parameter tree of `aux_rnn.model.network.AuxiliaryRNN`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from aux_rnn.config.settings import ModelConfig

Params = Mapping[str, Any]
State = tuple[jax.Array, ...]


@jax.jit
def lstm_step(params: Params, state: State, embedded: jax.Array) -> State:
    """`(c, h)` after one more element, `[E]`."""
    c, h = state
    gates = embedded @ params["input_kernel"] + h @ params["recurrent_kernel"] + params["bias"]
    i, f, g, o = jnp.split(gates, 4)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return c, jax.nn.sigmoid(o) * jnp.tanh(c)


@jax.jit
def gru_step(params: Params, state: State, embedded: jax.Array) -> State:
    """`(h,)` after one more element, `[E]`: flax's own cell on a single row."""
    (h,) = state
    h, _ = nn.GRUCell(h.shape[-1]).apply({"params": params}, h, embedded)
    return (h,)


CELL_STEPS = {"lstm": lstm_step, "gru": gru_step}
STATE_ARRAYS = {"lstm": 2, "gru": 1}


def zero_state(encoder: str, size: int, like: jax.Array) -> State:
    """`s[0] = 0`."""
    return tuple(jnp.zeros(size, like.dtype) for _ in range(STATE_ARRAYS[encoder]))


def dense(params: Params, inputs: jax.Array) -> jax.Array:
    """`inputs W + b`."""
    return inputs @ params["kernel"] + params["bias"]


def embed(params: Params, element: jax.Array) -> jax.Array:
    """An element `[C]` or a token `[]` to `[E]`."""
    if jnp.issubdtype(element.dtype, jnp.integer):
        return params["table"]["embedding"][element]
    return dense(params["linear"], element)


@jax.jit
def head(params: Params, hidden: jax.Array) -> jax.Array:
    """The feed-forward network on top of a recurrent layer."""
    for layer in range(len(params) - 1):
        hidden = jax.nn.relu(dense(params[f"Dense_{layer}"], hidden))
    return dense(params["output"], hidden)


def window(config: ModelConfig, params: Params, sequence: jax.Array, length: int, end: int, truncation: Any) -> State:
    """Returns `s[end]`, with a gradient that reaches the steps `[end - truncation, end)` and no others.

    The sequence, `[L, C]` or `[L]`, is padded on the left: the steps before its last `length` hold the zero state.
    """
    step = CELL_STEPS[config.encoder]
    state = zero_state(config.encoder, config.hidden_size, jax.tree.leaves(params)[0])
    for t in range(end):
        if truncation != "full" and t == end - truncation:
            state = jax.lax.stop_gradient(state)
        if t >= len(sequence) - length:
            state = step(params["cell"], state, embed(params["embedding"], sequence[t]))
    if truncation == 0:
        state = jax.lax.stop_gradient(state)
    return state


def map_state(params: Params, state: State, size: int) -> State:
    """The encoder's state in the size of the decoder's bottom layer."""
    if len(state[-1]) == size:
        return state
    return tuple(dense(params["state_map"][f"Dense_{index}"], array) for index, array in enumerate(state))


def decode(
    config: ModelConfig, params: Params, state: State, previous: Sequence[jax.Array], count: int
) -> list[jax.Array]:
    """Returns the outputs for `count` targets, from the encoder's state and the true element before each target."""
    step = CELL_STEPS[config.encoder]
    states = [map_state(params, state, config.decoder_sizes[0])]
    states += [zero_state(config.encoder, size, state[0]) for size in config.decoder_sizes[1:]]
    outputs: list[jax.Array] = []
    for j in range(count):
        element = previous[j]
        if j > 0 and not config.teacher_forcing:
            element = outputs[-1]
            if jnp.issubdtype(previous[j].dtype, jnp.integer):
                element = jnp.argmax(element)
            elif config.pixel_loss == "softmax":
                element = jnp.stack([jnp.argmax(levels) / 255 for levels in element])
        if j > 0 and config.decoder_truncation != "full" and j % config.decoder_truncation == 0:
            states = jax.lax.stop_gradient(states)
            element = jax.lax.stop_gradient(element)
        hidden = embed(params["embedding"], element)
        for layer in range(len(states)):
            states[layer] = step(params[f"layers_{layer}"], states[layer], hidden)
            hidden = states[layer][-1]
        output = head(params["head"], hidden)
        if config.pixel_loss == "softmax" and not jnp.issubdtype(previous[j].dtype, jnp.integer):
            output = output.reshape(len(previous[j]), 256)
        outputs.append(output)
    return outputs


def segment_positions(kind: str, length: int, anchor: int, segment_length: int) -> list[int]:
    """The positions of the targets of one anchor; fewer than `segment_length` if the example has not so many."""
    if kind == "reconstruct":
        count = min(segment_length, length)
        return list(range(anchor - count, anchor))
    count = min(segment_length, max(length - 1, 0))
    return list(range(anchor, anchor + count))


def cross_entropy(logits: jax.Array, label: jax.Array) -> jax.Array:
    """In nats."""
    return jnp.log(jnp.sum(jnp.exp(logits))) - logits[label]


def supervised_loss(
    config: ModelConfig, params: Params, inputs: jax.Array, lengths: Sequence[int], labels: jax.Array
) -> jax.Array:
    """Mean over the examples of the classifier's cross-entropy."""
    errors = []
    for sequence, length, label in zip(inputs, lengths, labels, strict=True):
        state = window(config, params["encoder"], sequence, length, len(sequence), config.supervised_truncation)
        errors.append(cross_entropy(head(params["head"], state[-1]), label))
    return sum(errors) / len(errors)


def auxiliary_loss(
    config: ModelConfig,
    params: Params,
    kind: str,
    inputs: jax.Array,
    lengths: Sequence[int],
    anchors: Sequence[Sequence[int]],
) -> jax.Array:
    """Averages one decoder's error over all targets of all anchors, in padded positions, of all examples."""
    # Targets and the decoder's inputs are data, which have no gradient.
    data = jax.lax.stop_gradient(inputs)
    errors = []
    for example, (length, own_anchors) in enumerate(zip(lengths, anchors, strict=True)):
        start = inputs.shape[1] - length
        for anchor in own_anchors:
            state = window(config, params["encoder"], inputs[example], length, anchor, config.auxiliary_truncation)
            positions = segment_positions(kind, length, anchor, config.segment_length)
            nothing = jnp.zeros_like(data[example, 0])
            previous = [data[example, p - 1] if p - 1 >= start else nothing for p in positions]
            outputs = decode(config, params[f"decoders_{kind}"], state, previous, len(positions))
            for output, position in zip(outputs, positions, strict=True):
                errors.append(target_error(config, output, data[example, position]))
    return sum(errors) / len(errors)


def target_error(config: ModelConfig, output: jax.Array, target: jax.Array) -> jax.Array:
    """The error of one target, a token `[]` or the channels `[C]` of a pixel."""
    if jnp.issubdtype(target.dtype, jnp.integer):
        return cross_entropy(output, target)
    if config.pixel_loss == "softmax":
        levels = jnp.round(target * 255).astype(int)
        return sum(map(cross_entropy, output, levels)) / len(levels)
    return jnp.mean((output - target) ** 2)


def total_loss(
    config: ModelConfig,
    params: Params,
    inputs: jax.Array,
    lengths: Sequence[int],
    labels: jax.Array | None,
    anchors: Mapping[str, Sequence[Sequence[int]]],
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns `supervised + weight * (sum of the auxiliary losses)`, and each loss by name.

    Labels of None leave the supervised loss and the weight out (pretraining).
    """
    losses = {kind: auxiliary_loss(config, params, kind, inputs, lengths, anchors[kind]) for kind in anchors}
    auxiliary = sum(losses.values())
    if labels is None:
        return auxiliary, losses
    losses["supervised"] = supervised_loss(config, params, inputs, lengths, labels)
    return losses["supervised"] + config.auxiliary_weight * auxiliary, losses


def randomize(tree: Any, seed: int, scale: float = 0.6) -> Any:
    """Draws arrays of the same shapes: biases of zero would hide that they are missing or without a gradient."""
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(random.normal(0, scale, leaf.shape), float), tree)
