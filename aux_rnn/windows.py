r"""Recurrence over long sequences with gradients that reach exactly as far as they are meant to.

A *window* `(end, T)` is the state `s[end]` whose gradient reaches back over the `T` steps before `end` and not further
(Trinh, Dai, Luong and Le, 2018, cut both losses' gradients so). All windows of a batch are computed in two passes:

1. one pass without gradients advances the state over the sequence and captures the states where windows start;
2. all windows of equal `T` run together, as extra rows, through one differentiable scan of `T` steps.

What is kept for the backward pass therefore depends on `T` and the number of windows, never on the length `L`. Windows
without a cut (`T = 'full'`) are captured at their end instead, from a pass with gradients.

Both passes, `capture` and `run_windows`, take an encoder of any of three kinds: a bound module with a method
`encoder(state, element) -> state`, scanned over the steps; an LSTM's parameters for the fused recurrence (`fused.py`);
or those for cuDNN (`cudnn.py`), where every state that is wanted is the end of a row of its own.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from aux_rnn.cudnn import CudnnEncoder
from aux_rnn.fused import FoldedEncoder, run_lstm
from aux_rnn.recurrence import Tree, cut, scan_steps, select
from aux_rnn.sequences import take_elements
from aux_rnn.settings import Truncation

AnyEncoder = nn.Module | FoldedEncoder | CudnnEncoder


def is_full(truncation: Truncation, latest: int) -> bool:
    """Whether a truncation cuts nothing of windows that end at `latest` or before."""
    return truncation == "full" or truncation >= latest


class Windows(NamedTuple):
    """`W` windows an example with one truncation.

    Attributes:
      ends: int32 `[B, W]`, positions in the padded sequence; the state wanted is `s[end]`.
      truncation: `T`, steps the gradient goes back from there, or 'full'.
      latest: the largest end that can occur, known when the program is compiled.

    Examples:
      >>> windows = Windows(jnp.array([[20], [9]]), truncation=6, latest=20)
      >>> windows.is_full(), windows.captures().tolist()
      (False, [[14], [3]])
    """

    ends: jax.Array
    truncation: Truncation
    latest: int

    def is_full(self) -> bool:
        return is_full(self.truncation, self.latest)

    def captures(self) -> jax.Array:
        """Where the first pass takes the state: at the start of a window with a cut, at the end of one without."""
        return self.ends if self.is_full() else jnp.maximum(self.ends - int(self.truncation), 0)

    def latest_capture(self) -> int:
        return self.latest if self.is_full() else self.latest - int(self.truncation)


def first_positions(inputs: jax.Array, lengths: jax.Array | None) -> jax.Array:
    """The position of each example's first own element, int32 `[B]`."""
    batch, length = inputs.shape[:2]
    return jnp.zeros(batch, jnp.int32) if lengths is None else length - lengths


def capture(
    encoder: AnyEncoder,
    inputs: jax.Array,
    lengths: jax.Array | None,
    positions: jax.Array,
    steps: int,
    has_gradient: bool,
) -> Tree:
    """The first pass: from `s[0] = 0` over the first `steps` elements, for the states at all positions.

    Args:
      encoder: see the module's docstring.
      inputs: `[B, L, C]` or `[B, L]`.
      lengths: int32 `[B]`, or None where no sequence is padded. Padded steps hold the zero state.
      positions: int32 `[B, P]`, at most `steps`.
      steps: elements to read.
      has_gradient: whether gradients go through the pass.

    Returns:
      `s[p]` for every position, leaves `[B, P, H]`.
    """
    if not has_gradient:
        inputs = cut(inputs)
    if isinstance(encoder, nn.Module):
        run: Any = capture_states
        if not has_gradient:
            starting = encoder.is_initializing()
            run = nn.map_variables(run, "params", trans_in_fn=cut, init=starting, mutable=starting)
        return run(encoder, inputs, lengths, positions, steps)
    encoder = encoder if has_gradient else cut(encoder)
    if isinstance(encoder, CudnnEncoder):
        starts = jnp.broadcast_to(first_positions(inputs, lengths)[:, None], positions.shape)
        state = encoder.initial_state(*positions.shape)
        return encoder.advance(state, inputs, starts, jnp.maximum(positions, starts), steps)
    run = capture_by_gradient if has_gradient else capture_states
    return run(encoder, inputs, lengths, positions, steps)


def capture_states(
    encoder: nn.Module | FoldedEncoder,
    inputs: jax.Array,
    lengths: jax.Array | None,
    positions: jax.Array,
    steps: int,
) -> Tree:
    """`capture` by a scan that keeps the state wherever a position is reached."""
    batch, length = inputs.shape[:2]
    state = encoder.initial_state(batch)
    captured = jax.tree.map(lambda s: jnp.zeros((*positions.shape, *s.shape[1:]), s.dtype), state)

    def keep(captured: Tree, state: Tree, position: jax.Array) -> Tree:
        return select(positions == position, jax.tree.map(lambda s: s[:, None], state), captured)

    def step(encoder: nn.Module, carry: tuple[Tree, Tree], xs: tuple[jax.Array, jax.Array]) -> tuple[Tree, None]:
        state, captured = carry
        position, element = xs
        captured = keep(captured, state, position)
        advanced = encoder(state, element)
        state = advanced if lengths is None else select(position >= length - lengths, advanced, state)
        return (state, captured), None

    elements = jnp.swapaxes(inputs[:, :steps], 0, 1)
    (state, captured), _ = scan_steps(step, encoder, (state, captured), (jnp.arange(steps), elements))
    return keep(captured, state, jnp.int32(steps))


def capture_by_gradient(
    encoder: FoldedEncoder, inputs: jax.Array, lengths: jax.Array | None, positions: jax.Array, steps: int
) -> Tree:
    """`capture` for a pass with gradients, which needs all states anyway."""
    batch, starts = len(inputs), first_positions(inputs, lengths)
    initial = encoder.initial_state(batch)
    active = None if lengths is None else jnp.arange(steps)[:, None] >= starts
    elements = jnp.swapaxes(inputs[:, :steps], 0, 1)
    _, states = run_lstm((encoder.layer,), (initial,), elements, active, None, True, encoder.matmul)
    states = jax.tree.map(lambda first, s: jnp.concatenate([first[None], s]), initial, states)
    return jax.tree.map(lambda s: s[positions, jnp.arange(batch)[:, None]], states)


def run_windows(
    encoder: AnyEncoder, states: Tree, inputs: jax.Array, lengths: jax.Array | None, ends: jax.Array, truncation: int
) -> Tree:
    """Runs all windows of one truncation together, from constant states to their ends.

    A window clipped by the start of its sequence holds the state until its first own element.

    Args:
      encoder: see the module's docstring.
      states: leaves `[B, W, H]`, the states at `max(end - T, 0)`.
      inputs: `[B, L, C]` or `[B, L]`.
      lengths: int32 `[B]`, or None where no sequence is padded.
      ends: int32 `[B, W]`.
      truncation: `T`.

    Returns:
      `s[end]`, leaves `[B, W, H]`, differentiable over the last `T` steps.
    """
    if truncation == 0:
        return cut(states)
    earliest = first_positions(inputs, lengths)
    if isinstance(encoder, CudnnEncoder):
        starts = jnp.maximum(ends - truncation, earliest[:, None])
        return encoder.advance(cut(states), inputs, starts, ends, truncation)
    positions = ends[:, :, None] - truncation + jnp.arange(truncation)
    elements = take_elements(inputs, positions, earliest)
    rows = ends.size

    def to_rows(x: jax.Array) -> jax.Array:  # [B, W, T, ...] -> [T, B * W, ...]
        return jnp.swapaxes(x.reshape(rows, truncation, *x.shape[3:]), 0, 1)

    def step(encoder: nn.Module, state: Tree, xs: tuple[jax.Array, jax.Array]) -> tuple[Tree, None]:
        active, element = xs
        return select(active, encoder(state, element), state), None

    flat = jax.tree.map(lambda s: s.reshape(rows, *s.shape[2:]), cut(states))
    active = to_rows(positions >= earliest[:, None, None])
    if isinstance(encoder, FoldedEncoder):
        (flat,), _ = run_lstm((encoder.layer,), (flat,), to_rows(elements), active, None, False, encoder.matmul)
    else:
        flat, _ = scan_steps(step, encoder, flat, (active, to_rows(elements)))
    return jax.tree.map(lambda s: s.reshape(*ends.shape, *s.shape[1:]), flat)


def encode_windows(
    encoder: AnyEncoder, inputs: jax.Array, lengths: jax.Array | None, windows: Sequence[Windows]
) -> list[Tree]:
    """The states at the ends of all windows, each with a gradient over just its own truncation.

    Args:
      encoder: see the module's docstring; a module needs `encoder.initial_state(batch)`, too.
      inputs: `[B, L, C]` or, for tokens, `[B, L]`; padded on the left.
      lengths: int32 `[B]`, each example's own length, or None where no sequence is padded.
      windows: at least one.

    Returns:
      For every entry of `windows` the states `s[end]`, with leaves `[B, W, H]`.

    Source: Trinh, Dai, Luong and Le (2018), figure 1: where gradients are stopped.

    Examples:
      Inside of a module of your own, for the last state and for those at two anchors.

      >>> from aux_rnn import Encoder
      >>> class Network(nn.Module):
      ...     @nn.compact
      ...     def __call__(self, inputs, anchors):
      ...         encoder = Encoder(nn.GRUCell(8), embedding_size=4, vocabulary_size=0)
      ...         ends = jnp.full((len(inputs), 1), 20)
      ...         return encode_windows(encoder, inputs, None, [Windows(ends, 6, 20), Windows(anchors, 6, 20)])
      >>> inputs, anchors = jnp.ones((2, 20, 3)), jnp.array([[5, 12], [8, 19]])
      >>> (last, at_anchors), variables = Network().init_with_output(jax.random.key(0), inputs, anchors)
      >>> last.shape, at_anchors.shape
      ((2, 1, 8), (2, 2, 8))
    """
    positions = jnp.concatenate([w.captures() for w in windows], axis=1)
    steps = max(w.latest_capture() for w in windows)
    captured = capture(encoder, inputs, lengths, positions, steps, any(w.is_full() for w in windows))
    states = split_windows(captured, windows)
    for truncation in dict.fromkeys(w.truncation for w in windows if not w.is_full()):
        members = [k for k, w in enumerate(windows) if not w.is_full() and w.truncation == truncation]
        group = [windows[k] for k in members]
        ends = jnp.concatenate([w.ends for w in group], axis=1)
        starts = jax.tree.map(lambda *s: jnp.concatenate(s, axis=1), *[states[k] for k in members])
        finished = run_windows(encoder, starts, inputs, lengths, ends, int(truncation))
        for k, ended in zip(members, split_windows(finished, group), strict=True):
            states[k] = ended
    return states


def split_windows(states: Tree, windows: Sequence[Windows]) -> list[Tree]:
    """Divides leaves `[B, P, H]` into one tree of leaves `[B, W, H]` for every entry of `windows`."""
    borders = list(itertools.accumulate((w.ends.shape[1] for w in windows), initial=0))
    return [jax.tree.map(lambda s, span=slice(*span): s[:, span], states) for span in itertools.pairwise(borders)]
