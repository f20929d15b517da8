"""Decoder outputs for a few examples at several anchors, teacher-forced and free-running.

Computed on one device of one process, so that a run of several processes can make its figures in one of them.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aux_rnn.config.settings import Config
from aux_rnn.config.spec import SequenceSpec
from aux_rnn.datasets import Examples
from aux_rnn.model.inputs import read_inputs
from aux_rnn.model.objective import make_model
from aux_rnn.model.segments import anchor_range, input_dropout, slice_segments
from aux_rnn.recurrence.precision import highest_precision

NUM_EXAMPLES, NUM_ANCHORS = 4, 3


class DecodedSegments(NamedTuple):
    """Segments of `N` examples at `A` anchors each, `S` elements long, and one decoder's outputs; all on the host.

    Elements are as the network reads them: `C` values (of pixels in [0, 1]; an output may lie outside), or tokens.

    Attributes:
      kind: 'reconstruct' or 'predict'.
      anchors: int32 `[N, A]`, counted from the start of each example's own sequence.
      begins: int32 `[N, A]`, the position of the first target in the padded sequence.
      mask: bool `[N, A, S]`, false where a sequence shorter than the segment has no target.
      targets: `[N, A, S, C]` or int `[N, A, S]`, the segment.
      teacher_forced: like `targets`, from the true elements before each; in training as many of them are dropped.
      free_running: like `targets`, each element from the decoder's own output before it; only the first input is true.
    """

    kind: str
    anchors: np.ndarray
    begins: np.ndarray
    mask: np.ndarray
    targets: np.ndarray
    teacher_forced: np.ndarray
    free_running: np.ndarray


def pick_examples(examples: Examples, count: int = NUM_EXAMPLES) -> Examples:
    """Returns the first example of each of the first `count` classes; the same in every run on the same data."""
    rows = np.unique(examples.labels, return_index=True)[1][:count]
    lengths = None if examples.lengths is None else examples.lengths[rows]
    return Examples(examples.inputs[rows], examples.labels[rows], lengths)


def make_decode_fn(
    config: Config, spec: SequenceSpec, permutation: np.ndarray | None = None
) -> Callable[[Any, Examples, str], DecodedSegments]:
    """Returns the function `(params, examples, kind) -> DecodedSegments`; `read_inputs` takes the permutation.

    The inputs of a teacher-forced decoder are dropped with `decoder_input_dropout`, as in the loss; a free-running
    decoder gets all of its own outputs.
    """
    settings = config.model
    models = [make_model(dataclasses.replace(settings, teacher_forcing=forced), spec) for forced in (True, False)]

    @partial(jax.jit, static_argnames="kind")
    @highest_precision
    def run_decoders(params: Any, inputs: jax.Array, lengths: jax.Array | None, anchors: jax.Array, kind: str) -> Any:
        own = jnp.full(len(inputs), inputs.shape[1]) if lengths is None else lengths
        segments = slice_segments(kind, inputs, own, anchors, settings.segment_length)
        # The keys of an evaluation, see `draw_all_segments`.
        key = jax.random.fold_in(jax.random.key(0), settings.auxiliaries.index(kind))
        rows = jnp.arange(len(inputs), dtype=jnp.int32)
        segments = input_dropout(jax.random.split(key)[1], segments, rows, settings.decoder_input_dropout)

        def run(model: Any) -> jax.Array:
            states = model.encode(inputs, lengths, {kind: segments}, False)[1][kind]
            return model.decoders[kind].feed_back(model.decode(kind, states, segments))

        return segments, [model.apply({"params": params}, method=run) for model in models]

    def decode(params: Any, examples: Examples, kind: str) -> DecodedSegments:
        params = jax.device_get(params)  # a state in training lies on all devices
        inputs, padded = read_inputs(examples.arrays(), spec, permutation)
        length = inputs.shape[1]
        lengths = np.full(len(examples), length, np.int32) if padded is None else np.asarray(padded, np.int32)
        anchors = spread_anchors(kind, lengths, settings.segment_length)
        positions = anchors + (length - lengths)[:, None]
        segments, outputs = jax.device_get(run_decoders(params, inputs, padded, positions, kind=kind))
        begins = segments.anchors - segments.mask.sum(axis=-1) if kind == "reconstruct" else segments.anchors
        return DecodedSegments(kind, anchors, begins.astype(np.int32), segments.mask, segments.targets, *outputs)

    return decode


def spread_anchors(kind: str, lengths: np.ndarray, segment_length: int, count: int = NUM_ANCHORS) -> np.ndarray:
    """Returns anchors from the first to the last allowed one in equal strides, for lengths int32 `[N]`.

    They are int32 `[N, A]`, counted from the start of each example's own sequence; A is at most `count`.
    """
    first, last, _ = (np.asarray(x) for x in anchor_range(kind, jnp.asarray(lengths), segment_length))
    count = min(count, int((last - first).max()) + 1)
    shares = np.linspace(0.0, 1.0, count) if count > 1 else np.ones(1)
    return np.rint(first[:, None] + shares * (last - first)[:, None]).astype(np.int32)
