"""Losses and gradients of the method, compared with `naive.py` and finite differences."""

import dataclasses
import functools
from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import naive
import numpy as np
import optax
import pytest
from naive import randomize

from aux_rnn.config.settings import ModelConfig
from aux_rnn.config.spec import SequenceSpec
from aux_rnn.model import losses
from aux_rnn.model.network import AuxiliaryRNN
from aux_rnn.model.objective import Losses, total_loss
from aux_rnn.model.segments import Segments, slice_segments
from aux_rnn.recurrence import fused_lstm, scan

L, C, K, S = 12, 2, 3, 5
PIXELS = SequenceSpec(length=L, channels=C, num_classes=K)
TOKENS = SequenceSpec(length=L, channels=1, num_classes=K, vocabulary_size=L + 2)
# A full example, one that is longer than a segment and one that is shorter.
PADDED = (L, 8, 3)
SIZES = dict(embedding_size=3, hidden_size=4, head_sizes=(12,), decoder_sizes=(5, 4), decoder_head_sizes=(12,))
UNCUT = dict.fromkeys(("supervised_truncation", "auxiliary_truncation", "decoder_truncation"), "full")
SMALL = {**SIZES, **UNCUT, "segment_length": S, "auxiliary": "both", "auxiliary_weight": 0.7}


class Problem(NamedTuple):
    """A model and a batch to compute its losses on. `lengths` is None where the library is not told of any."""

    config: ModelConfig
    model: AuxiliaryRNN
    params: Any
    inputs: jax.Array
    labels: jax.Array
    lengths: tuple[int, ...] | None
    anchors: dict[str, np.ndarray]

    @property
    def own_lengths(self) -> tuple[int, ...]:
        return self.lengths or (L,) * len(self.inputs)

    def segments(self, inputs: jax.Array) -> dict[str, Segments]:
        own = jnp.asarray(self.own_lengths)
        return {kind: slice_segments(kind, inputs, own, jnp.asarray(a), S) for kind, a in self.anchors.items()}

    def apply(self, params: Any, inputs: jax.Array, classify: bool = True) -> tuple[Any, dict[str, jax.Array]]:
        lengths = None if self.lengths is None else jnp.asarray(self.lengths)
        return self.model.apply({"params": params}, inputs, lengths, self.segments(inputs), classify=classify)

    def losses(self, params: Any, classify: bool = True) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The library's total loss, and each loss by name."""
        logits, decoded = self.apply(params, self.inputs, classify)
        rows = jnp.ones(len(self.inputs), bool)
        supervised = losses.supervised_loss(logits, self.labels, rows) if classify else None
        segments = self.segments(self.inputs)
        auxiliary = {kind: losses.auxiliary_loss(decoded[kind], segments[kind], rows) for kind in decoded}
        total = total_loss(Losses(logits, supervised, auxiliary), self.config.auxiliary_weight)
        means = auxiliary if supervised is None else auxiliary | {"supervised": supervised}
        return total, {name: mean.compute() for name, mean in means.items()}


def make_anchors(kind: str, lengths: tuple[int, ...], count: int) -> np.ndarray:
    """`count` anchors an example from the first allowed to the last, in padded positions."""
    rows = []
    for n in lengths:
        first, last = (min(S, n), n) if kind == "reconstruct" else (min(1, n), n - min(S, max(n - 1, 0)))
        rows.append(np.linspace(first, last, count).astype(int) + L - n)
    return np.array(rows)


@functools.cache
def parameter_shapes(config: ModelConfig, spec: SequenceSpec, cell: Any) -> Any:
    """The tree of a model's parameters, which no truncation is to change."""
    inputs = jnp.zeros((1, L), int) if spec.vocabulary_size else jnp.zeros((1, L, C))
    anchors = jnp.full((1, 1), S)
    segments = {kind: slice_segments(kind, inputs, jnp.array([L]), anchors, S) for kind in config.auxiliaries}
    return jax.eval_shape(AuxiliaryRNN(config, spec, cell).init, jax.random.key(0), inputs, None, segments)["params"]


def make_problem(
    spec: SequenceSpec = PIXELS,
    lengths: tuple[int, ...] | None = None,
    num_anchors: int = 2,
    cell: Any = None,
    seed: int = 0,
    **settings: Any,
) -> Problem:
    """A tiny model, random parameters and a batch of three, in the precision that is switched on."""
    config = ModelConfig(**{**SMALL, **settings})
    random = np.random.default_rng(seed)
    batch = len(PADDED)
    if spec.vocabulary_size:
        inputs = jnp.asarray(random.integers(spec.vocabulary_size, size=(batch, L)))
    else:
        inputs = jnp.asarray(random.uniform(size=(batch, L, C)), float)
    labels = jnp.asarray(random.integers(K, size=batch))
    anchors = {kind: make_anchors(kind, lengths or (L,) * batch, num_anchors) for kind in config.auxiliaries}
    problem = Problem(config, AuxiliaryRNN(config, spec, cell), {}, inputs, labels, lengths, anchors)
    return problem._replace(params=randomize(parameter_shapes(dataclasses.replace(config, **UNCUT), spec, cell), seed))


# ---- Windows: which time steps a gradient reaches


def make_reach(problem: Problem) -> Any:
    """Returns a function `(name, *index)` that returns bool `[B, L]`: where the gradient of a loss is not zero.

    `index` picks from the loss's own array: `[B]` for the supervised loss, `[B, A, S]` for an auxiliary loss.
    """

    def picked(inputs: jax.Array, weights: dict[str, jax.Array]) -> jax.Array:
        logits, decoded = problem.apply(problem.params, inputs)
        errors = {"supervised": optax.softmax_cross_entropy_with_integer_labels(logits, problem.labels)}
        for kind, segments in problem.segments(inputs).items():
            errors[kind] = jnp.sum(jnp.square(decoded[kind] - segments.targets), axis=-1)
        return sum(jnp.sum(weights[name] * errors[name]) for name in errors)

    gradient = jax.jit(jax.grad(picked))

    def reach(name: str, *index: int) -> np.ndarray:
        weights = {kind: np.zeros((*anchors.shape, S), np.float32) for kind, anchors in problem.anchors.items()}
        weights["supervised"] = np.zeros(len(problem.inputs), np.float32)
        weights[name][index] = 1
        touched = np.asarray(gradient(problem.inputs, weights)) != 0
        # All channels of an element or none: nothing but a cut makes a zero.
        np.testing.assert_array_equal(touched.any(-1), touched.all(-1))
        return touched.any(-1)

    return reach


def window_steps(problem: Problem, example: int, end: int, truncation: Any) -> np.ndarray:
    """Bool `[B, L]`, true for the steps of one window, which is clipped at the start of the example's own sequence."""
    start = L - problem.own_lengths[example]
    expected = np.zeros(problem.inputs.shape[:2], bool)
    expected[example, start if truncation == "full" else max(start, end - truncation) : end] = True
    return expected


def check_windows(problem: Problem) -> None:
    """Every example's supervised loss and every target of every anchor reach their own window, and nothing else."""
    reach, config = make_reach(problem), problem.config
    for example, length in enumerate(problem.own_lengths):
        expected = window_steps(problem, example, L, config.supervised_truncation)
        np.testing.assert_array_equal(reach("supervised", example), expected)
        for kind in config.auxiliaries:
            for index, anchor in enumerate(problem.anchors[kind][example]):
                for step in range(len(naive.segment_positions(kind, length, anchor, S))):
                    # From its first cut on, the decoder has forgotten where its state came from.
                    is_cut = config.decoder_truncation != "full" and step >= config.decoder_truncation
                    expected = window_steps(problem, example, anchor, 0 if is_cut else config.auxiliary_truncation)
                    np.testing.assert_array_equal(reach(kind, example, index, step), expected)


def truncate(supervised: Any, auxiliary: Any, decoder: Any, /, **settings: Any) -> dict[str, Any]:
    """Settings by keyword, the three truncations first."""
    return dict(zip(UNCUT, (supervised, auxiliary, decoder), strict=True)) | settings


# The decoder's 5 steps are no multiple of 2 and 3.
WINDOW_CASES = {
    "0, 0, full": truncate(0, 0, "full", lengths=PADDED, auxiliary="reconstruct"),
    "1, 3, 2, free": truncate(1, 3, 2, lengths=PADDED, teacher_forcing=False),
    "3, 7, 1": truncate(3, 7, 1, lengths=PADDED),
    "7, full, 3": truncate(7, "full", 3, lengths=PADDED),
    "full, 1, 3, free": truncate("full", 1, 3, lengths=PADDED, teacher_forcing=False),
    "no lengths, reconstruct": truncate(1, 7, 3, auxiliary="reconstruct"),
    "no lengths, predict": truncate("full", 3, "full", auxiliary="predict"),
    "library cell, reconstruct": truncate(7, 3, 3, lengths=PADDED, encoder="gru", auxiliary="reconstruct"),
    "library cell, predict": truncate(3, "full", 1, lengths=PADDED, encoder="gru", auxiliary="predict"),
}


# The naive method below cuts where the windows begin, and is compared for cells of flax and for texts.
QUICK_WINDOWS = ("1, 3, 2, free", "no lengths, predict")


def mark_slow_except(quick, cases):
    """Returns the parameters of a test, each a value or a tuple; without --slow, it runs on the quick ones."""
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=[] if case in quick else pytest.mark.slow)
        for case in cases
    ]


@pytest.mark.parametrize("case", mark_slow_except(QUICK_WINDOWS, WINDOW_CASES))
def test_gradient_reaches_exactly_the_window(case):
    check_windows(make_problem(num_anchors=3, decoder_sizes=(5,), **WINDOW_CASES[case]))


# ---- The method, step by step: losses and all parameter gradients

GRU = {"encoder": "gru", "cell": functools.partial(nn.GRUCell, param_dtype=jnp.float64)}
NAIVE_CASES = {
    "none": truncate(7, 0, 1, auxiliary="none"),
    "reconstruct": truncate(1, 7, 2, auxiliary="reconstruct"),
    "predict, padded": truncate(7, 1, 3, auxiliary="predict", lengths=PADDED),
    # 8 steps are no cut for the anchors of a prediction, of which the last is 7, but one for a reconstruction.
    "both, free": truncate(0, 8, 2, teacher_forcing=False),
    "both, padded, windows of one length": truncate(3, 3, 1, lengths=PADDED),
    "tokens, padded": truncate("full", 0, 3, auxiliary="predict", spec=TOKENS, lengths=PADDED),
    "tokens, padded, free, sizes that agree": truncate(
        1, "full", 2, auxiliary="reconstruct", spec=TOKENS, lengths=PADDED
    )
    | dict(teacher_forcing=False, head_sizes=(6, 5), decoder_sizes=(4, 5), decoder_head_sizes=(5, 6)),
    # The supervised window is the whole sequence, as without truncation.
    "levels of pixels": truncate(L, 7, 2, auxiliary="reconstruct", pixel_loss="softmax"),
    "levels of pixels, free": truncate(1, 3, 2, auxiliary="predict", pixel_loss="softmax", teacher_forcing=False),
    "library cell, padded": truncate(0, 7, 2, auxiliary="predict", lengths=PADDED, **GRU),
}

# Each kind of loss, of element and of cell once.
QUICK_CASES = (
    ("none", "scan"),
    ("both, padded, windows of one length", "fused"),
    ("tokens, padded, free, sizes that agree", "fused"),
    ("levels of pixels", "fused"),
    ("library cell, padded", "scan"),
)
CASES = [(case, how) for case in NAIVE_CASES for how in ("scan", "fused") if how == "scan" or "library" not in case]


def compute_naively(problem: Problem, classify: bool) -> Any:
    reference = jax.value_and_grad(naive.total_loss, argnums=1, has_aux=True)
    labels = problem.labels if classify else None
    return reference(problem.config, problem.params, problem.inputs, problem.own_lengths, labels, problem.anchors)


@functools.cache
def find_reference(case: str) -> Any:
    """Returns what both recurrences have to give."""
    return compute_naively(make_problem(seed=1, **NAIVE_CASES[case]), classify=True)


def check_against(expected: Any, problem: Problem, classify: bool = True) -> None:
    library = jax.jit(jax.value_and_grad(functools.partial(problem.losses, classify=classify), has_aux=True))
    chex.assert_trees_all_close(library(problem.params), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("case", "recurrence"), mark_slow_except(QUICK_CASES, CASES))
def test_losses_and_gradients_equal_the_naive_method(case, recurrence):
    check_against(find_reference(case), make_problem(seed=1, recurrence=recurrence, **NAIVE_CASES[case]))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("recurrence", mark_slow_except(["fused"], ["scan", "fused"]))
def test_unrolled_loops_as_on_gpus_equal_the_naive_method(recurrence, monkeypatch):
    for module in (scan, fused_lstm):
        monkeypatch.setattr(module, "steps_per_iteration", lambda: 3)
    case = "both, padded, windows of one length"
    check_against(find_reference(case), make_problem(seed=1, recurrence=recurrence, **NAIVE_CASES[case]))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("truncation", mark_slow_except([0], [0, "full"]))
def test_pretraining_loss_and_gradients_equal_the_naive_method(truncation):
    # Predictions alone: no other window makes the first pass go on to the end of a short example.
    problem = make_problem(lengths=PADDED, auxiliary="predict", auxiliary_truncation=truncation, seed=2)
    check_against(compute_naively(problem, classify=False), problem, classify=False)


# ---- Without a cut the gradient is the derivative


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("auxiliary", mark_slow_except(["predict"], ["reconstruct", "predict"]))
def test_gradient_without_cuts_equals_finite_differences(auxiliary):
    is_forced = auxiliary == "reconstruct"
    problem = make_problem(lengths=PADDED, auxiliary=auxiliary, teacher_forcing=is_forced, seed=3)
    evaluate = jax.jit(jax.value_and_grad(lambda params: problem.losses(params)[0]))
    _, gradient = evaluate(problem.params)
    step = 1e-5
    for seed in range(4):
        direction = randomize(problem.params, seed)
        ahead, behind = (evaluate(optax.tree.add_scale(problem.params, sign * step, direction))[0] for sign in (1, -1))
        slope = sum(jax.tree.leaves(jax.tree.map(jnp.vdot, gradient, direction)))
        np.testing.assert_allclose((ahead - behind) / (2 * step), slope, rtol=1e-7)
