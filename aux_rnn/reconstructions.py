"""What the decoders recall of a few examples: their outputs at several anchors, told the truth or left to themselves.

Computed on one device of one process, so that a run of several processes can make its pictures in one of them.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aux_rnn.config import Config, SequenceSpec
from aux_rnn.datasets import Examples
from aux_rnn.inputs import make_input_fn
from aux_rnn.objectives import make_model
from aux_rnn.precision import highest_precision
from aux_rnn.sequences import Segments, anchor_range, input_dropout, slice_segments

NUM_EXAMPLES, NUM_ANCHORS = 4, 3


class Recall(NamedTuple):
    """What one decoder recalls of `N` examples at `A` anchors each, `S` elements at each of them; all on the host.

    Elements are as the network reads them: `C` values (of pixels in [0, 1]; an output may lie outside), or tokens.

    Attributes:
      kind: 'reconstruct' or 'predict'.
      anchors: int32 `[N, A]`, counted from the start of each example's own sequence.
      begins: int32 `[N, A]`, the position of the first target in the padded sequence.
      mask: bool `[N, A, S]`, false where a sequence shorter than the segment has no target.
      targets: `[N, A, S, C]` or int `[N, A, S]`, the segment.
      teacher_forced: like `targets`, from the true elements before each; in training as many of them are dropped.
      own_output: like `targets`, each element from the decoder's own output before it; only the first input is true.
    """

    kind: str
    anchors: np.ndarray
    begins: np.ndarray
    mask: np.ndarray
    targets: np.ndarray
    teacher_forced: np.ndarray
    own_output: np.ndarray


# `(params, examples, is_stopping) -> one Recall a decoder`, or None if it was stopped.
Recollect = Callable[[Any, Examples, Callable[[], bool]], list[Recall] | None]


def pick_examples(examples: Examples, count: int = NUM_EXAMPLES) -> Examples:
    """The first example of each of the first `count` classes; the same in every run on the same data."""
    rows = np.unique(examples.labels, return_index=True)[1][:count]
    lengths = None if examples.lengths is None else examples.lengths[rows]
    return Examples(examples.inputs[rows], examples.labels[rows], lengths)


def spread_anchors(kind: str, lengths: np.ndarray, segment_length: int, count: int = NUM_ANCHORS) -> np.ndarray:
    """Anchors from the first to the last allowed one in equal strides.

    Args:
      kind: 'reconstruct' or 'predict'.
      lengths: int32 `[N]`, each example's own length.
      segment_length: `S`.
      count: `A` at most; fewer where no example has so many.

    Returns:
      int32 `[N, A]`, counted from the start of each example's own sequence.
    """
    first, last, _ = (np.asarray(x) for x in anchor_range(kind, jnp.asarray(lengths), segment_length))
    count = min(count, int((last - first).max()) + 1)
    shares = np.linspace(0.0, 1.0, count) if count > 1 else np.ones(1)
    return np.rint(first[:, None] + shares * (last - first)[:, None]).astype(np.int32)


def make_recollect(config: Config, spec: SequenceSpec, permutation: np.ndarray | None = None) -> Recollect:
    """Builds the function that says what the decoders recall.

    The inputs of a teacher-forced decoder are dropped at `decoder_input_dropout`, as the loss sees them; what it
    puts out itself is always fed back whole.

    Args:
      config: the experiment's.
      spec: what the sequences are.
      permutation: int `[L]`, as `image_to_sequence` takes it.
    """
    read = make_input_fn(spec, permutation)
    models = {
        forced: make_model(dataclasses.replace(config.model, teacher_forcing=forced), spec) for forced in (True, False)
    }

    @partial(jax.jit, static_argnames="kind")
    @highest_precision
    def cut(inputs: jax.Array, lengths: jax.Array, anchors: jax.Array, kind: str) -> Segments:
        segments = slice_segments(kind, inputs, lengths, anchors, config.model.segment_length)
        # The keys of an evaluation, see `draw_all_segments`.
        key = jax.random.fold_in(jax.random.key(0), config.model.auxiliaries.index(kind))
        rows = jnp.arange(len(inputs), dtype=jnp.int32)
        return input_dropout(jax.random.split(key)[1], segments, rows, config.model.decoder_input_dropout)

    @partial(jax.jit, static_argnames="kind")
    @highest_precision
    def encode(params: Any, inputs: jax.Array, lengths: jax.Array | None, segments: Segments, kind: str) -> Any:
        arguments = (inputs, lengths, {kind: segments}, False)
        return models[True].apply({"params": params}, *arguments, method="encode")[1][kind]

    @partial(jax.jit, static_argnames=("kind", "forced"))
    @highest_precision
    def decode(params: Any, states: Any, segments: Segments, kind: str, forced: bool) -> Any:
        def elements(model: Any) -> jax.Array:
            return model.decoders[kind].feed_back(model.decode(kind, states, segments))

        return models[forced].apply({"params": params}, method=elements)

    def recollect(params: Any, examples: Examples, is_stopping: Callable[[], bool]) -> list[Recall] | None:
        params = jax.device_get(params)  # a state in training lies on all devices
        inputs, padded = read(examples.arrays())
        lengths = np.full(len(examples), inputs.shape[1], np.int32) if padded is None else np.asarray(padded, np.int32)
        recalls = []
        for kind in config.model.auxiliaries:
            anchors = spread_anchors(kind, lengths, config.model.segment_length)
            segments = cut(inputs, lengths, anchors + (inputs.shape[1] - lengths)[:, None], kind=kind)
            outputs: list[np.ndarray] = []
            # Compiling takes seconds, so whoever asks to stop is heard in between.
            if is_stopping():
                return None
            states = encode(params, inputs, padded, segments, kind=kind)
            for forced in (True, False):
                if is_stopping():
                    return None
                outputs.append(np.asarray(decode(params, states, segments, kind=kind, forced=forced)))
            recalls.append(gather_recall(kind, anchors, segments, outputs))
        return recalls

    return recollect


def gather_recall(kind: str, anchors: np.ndarray, segments: Segments, outputs: Sequence[np.ndarray]) -> Recall:
    host = jax.device_get(segments)
    length = host.mask.sum(axis=-1)
    begins = host.anchors - length if kind == "reconstruct" else host.anchors
    return Recall(kind, anchors, begins.astype(np.int32), host.mask, host.targets, *outputs)
