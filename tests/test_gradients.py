"""How far each gradient reaches, and that it is the method's: held against `naive.py`, finite differences and flax."""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import naive
import numpy as np
import optax
import pytest

from aux_rnn import losses
from aux_rnn.cells import LSTMCell
from aux_rnn.config import ModelConfig, SequenceSpec
from aux_rnn.models import AuxiliaryRNN
from aux_rnn.recurrence import scan_chunks
from aux_rnn.sequences import Segments, cut_segments

L, C, K, S = 12, 2, 3, 5
PIXELS = SequenceSpec(length=L, channels=C, num_classes=K)
TOKENS = SequenceSpec(length=L, channels=1, num_classes=K, vocabulary_size=L + 2)
# A full example, one that is longer than a segment and one that is shorter.
PADDED = (L, 8, 3)
SMALL = {
    "embedding_size": 3,
    "hidden_size": 4,
    "head_sizes": (6, 5),
    "decoder_sizes": (5, 4),
    "decoder_head_sizes": (6, 5),
    "segment_length": S,
    "auxiliary": "both",
    "auxiliary_weight": 0.7,
    "supervised_truncation": "full",
    "auxiliary_truncation": "full",
    "decoder_truncation": "full",
}


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
        return {kind: cut_segments(kind, inputs, own, jnp.asarray(a), S) for kind, a in self.anchors.items()}

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
        total = losses.total_loss(supervised, auxiliary, self.config.auxiliary_weight)
        means = auxiliary if supervised is None else auxiliary | {"supervised": supervised}
        return total, {name: mean.compute() for name, mean in means.items()}


def make_anchors(kind: str, lengths: tuple[int, ...], count: int) -> np.ndarray:
    """`count` anchors an example from the first allowed to the last, in padded positions."""
    rows = []
    for n in lengths:
        first, last = (min(S, n), n) if kind == "reconstruct" else (min(1, n), n - min(S, max(n - 1, 0)))
        rows.append(np.linspace(first, last, count).astype(int) + L - n)
    return np.array(rows)


def randomize(params: Any, key: jax.Array) -> Any:
    """All parameters drawn anew: biases that start at zero would hide that they are missing or cut."""
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    return structure.unflatten([0.6 * jax.random.normal(k, p.shape) for k, p in zip(keys, leaves, strict=True)])


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
    key_inputs, key_labels, key_params = jax.random.split(jax.random.key(seed), 3)
    batch = len(PADDED)
    if spec.vocabulary_size:
        # No token twice in an example, so that the gradient of a row of the table is that of one time step.
        keys = jax.random.split(key_inputs, batch)
        inputs = jnp.stack([jax.random.permutation(key, spec.vocabulary_size)[:L] for key in keys])
    else:
        inputs = jax.random.uniform(key_inputs, (batch, L, C))
    labels = jax.random.randint(key_labels, (batch,), 0, K)
    anchors = {kind: make_anchors(kind, lengths or (L,) * batch, num_anchors) for kind in config.auxiliaries}
    problem = Problem(config, AuxiliaryRNN(config, spec, cell), {}, inputs, labels, lengths, anchors)
    shapes = jax.eval_shape(problem.model.init, key_params, inputs, None, problem.segments(inputs))["params"]
    return problem._replace(params=randomize(shapes, key_params))


@pytest.fixture
def float64() -> Iterator[None]:
    """Computes in float64, where rounding cannot hide or excuse a difference."""
    with jax.enable_x64(True):
        yield


# ---- Windows: which time steps a gradient reaches


def make_reach(problem: Problem):
    """A function `(name, index, ...) -> (steps, gradient)` for the losses of `problem`, one at a time.

    `steps` is bool `[B, L]`: whether the gradient of loss `name` with respect to an element has entries other than zero;
    `gradient` is that with respect to all parameters. `index` picks from the loss's own array: `[B]` for the supervised
    loss, `[B, A, S]` for an auxiliary loss.
    """
    segments = problem.segments(problem.inputs)
    is_tokens = bool(problem.model.spec.vocabulary_size)

    def picked(params: Any, inputs: jax.Array, weights: dict[str, jax.Array]) -> jax.Array:
        logits, decoded = problem.apply(params, inputs)
        errors = {"supervised": optax.softmax_cross_entropy_with_integer_labels(logits, problem.labels)}
        for kind, outputs in decoded.items():
            # The squared outputs: their gradient is not zero, and whatever the targets send back would show.
            errors[kind] = jnp.sum(jnp.square(outputs), axis=-1) * segments[kind].mask
        return sum(jnp.sum(weights[name] * errors[name]) for name in errors)

    gradient = jax.jit(jax.grad(picked, argnums=0 if is_tokens else (0, 1)))

    def reach(name: str, *index: Any) -> tuple[np.ndarray, Any]:
        weights = {"supervised": np.zeros(len(problem.inputs), np.float32)}
        weights |= {kind: np.zeros(segment.mask.shape, np.float32) for kind, segment in segments.items()}
        weights[name][index] = 1
        if is_tokens:
            of_params = gradient(problem.params, problem.inputs, weights)
            rows = np.arange(len(problem.inputs)) == index[0]
            table = np.asarray(of_params["encoder"]["embedding"]["table"]["embedding"])
            of_inputs = table[np.asarray(problem.inputs)] * rows[:, None, None]
        else:
            of_params, of_inputs = jax.device_get(gradient(problem.params, problem.inputs, weights))
        touched = np.asarray(of_inputs) != 0
        # All channels of an element or none: a generic gradient has no zero in between.
        chex.assert_trees_all_equal(touched.any(-1), touched.all(-1))
        return touched.any(-1), of_params

    return reach


def expected_reach(problem: Problem, example: int, end: int, truncation: Any) -> np.ndarray:
    """Bool `[B, L]`, true for the steps of one window, clipped at the start of the example."""
    first = L - problem.own_lengths[example]
    if truncation != "full":
        first = max(first, end - truncation)
    expected = np.zeros(problem.inputs.shape[:2], bool)
    expected[example, first:end] = True
    return expected


def check_windows(problem: Problem) -> None:
    """Every loss of every example and anchor reaches its own window exactly, and no other example."""
    reach = make_reach(problem)
    config = problem.config
    for example in range(len(problem.inputs)):
        steps, gradient = reach("supervised", example)
        truncation = config.supervised_truncation
        chex.assert_trees_all_equal(steps, expected_reach(problem, example, L, truncation))
        check_parameters(gradient, "head", truncation)
        for kind in config.auxiliaries:
            for index, anchor in enumerate(problem.anchors[kind][example]):
                steps, gradient = reach(kind, example, index)
                truncation = config.auxiliary_truncation
                chex.assert_trees_all_equal(steps, expected_reach(problem, example, anchor, truncation))
                check_parameters(gradient, f"decoders_{kind}", truncation)


def check_parameters(gradient: Any, own: str, truncation: Any) -> None:
    """A loss moves its `own` part of the network and the encoder, but with T = 0 the encoder not at all."""
    moved = {name: any(np.any(leaf != 0) for leaf in jax.tree.leaves(part)) for name, part in gradient.items()}
    assert moved == {name: name == own or (name == "encoder" and truncation != 0) for name in gradient}


TRUNCATIONS = [(0, 0), (1, 3), (3, 7), (7, "full"), ("full", 1), (0, "full"), ("full", 0)]


@pytest.mark.parametrize(("supervised", "auxiliary"), TRUNCATIONS)
@pytest.mark.parametrize("lengths", [None, PADDED], ids=["unpadded", "padded"])
def test_gradient_reaches_exactly_the_window(lengths, supervised, auxiliary):
    truncations = {"supervised_truncation": supervised, "auxiliary_truncation": auxiliary}
    check_windows(make_problem(lengths=lengths, num_anchors=3, **truncations))


@pytest.mark.parametrize(("supervised", "auxiliary"), [(0, 0), (1, 3), (7, "full"), ("full", 1)])
def test_gradient_of_a_library_cell_reaches_exactly_the_window(supervised, auxiliary):
    truncations = {"supervised_truncation": supervised, "auxiliary_truncation": auxiliary}
    check_windows(make_problem(lengths=PADDED, num_anchors=3, encoder="gru", **truncations))


def test_gradient_of_tokens_reaches_exactly_the_window():
    check_windows(make_problem(TOKENS, PADDED, supervised_truncation=7, auxiliary_truncation=3))


@pytest.mark.parametrize("teacher_forcing", [True, False], ids=["forced", "free"])
@pytest.mark.parametrize("truncation", [1, 2, 3, "full"])
def test_only_the_first_decoder_steps_send_gradient_into_the_encoder(truncation, teacher_forcing):
    problem = make_problem(
        auxiliary="reconstruct", decoder_truncation=truncation, teacher_forcing=teacher_forcing, num_anchors=1
    )
    reach = make_reach(problem)
    anchor = int(problem.anchors["reconstruct"][1, 0])
    for step in range(S):
        steps, gradient = reach("reconstruct", 1, 0, step)
        is_connected = truncation == "full" or step < truncation
        expected = expected_reach(problem, 1, anchor, "full" if is_connected else 0)
        chex.assert_trees_all_equal(steps, expected)
        check_parameters(gradient, "decoders_reconstruct", "full" if is_connected else 0)


# ---- The method, step by step: losses and all parameter gradients

NAIVE_CASES = {
    "none": dict(auxiliary="none", supervised_truncation=7),
    "reconstruct": dict(auxiliary="reconstruct", supervised_truncation=1, auxiliary_truncation=7, decoder_truncation=2),
    "predict-padded": dict(
        auxiliary="predict", supervised_truncation=7, auxiliary_truncation=1, decoder_truncation=3, lengths=PADDED
    ),
    # 8 steps are no cut for the anchors of a prediction, which end at 7, and one for those of a reconstruction.
    "both": dict(supervised_truncation=0, auxiliary_truncation=8, decoder_truncation=1),
    "both-padded": dict(supervised_truncation=3, auxiliary_truncation=3, lengths=PADDED),
    "both-padded-cut-off": dict(supervised_truncation=7, auxiliary_truncation=0, decoder_truncation=3, lengths=PADDED),
    "same-size": dict(decoder_sizes=(4, 5), supervised_truncation=7, auxiliary_truncation="full", decoder_truncation=2),
    "free": dict(teacher_forcing=False, supervised_truncation="full", auxiliary_truncation=7, decoder_truncation=3),
    "tokens-padded": dict(spec=TOKENS, lengths=PADDED, auxiliary_truncation=7, decoder_truncation=3),
    "tokens-padded-free": dict(
        spec=TOKENS, lengths=PADDED, teacher_forcing=False, supervised_truncation=1, decoder_truncation=2
    ),
    "gru-padded": dict(
        encoder="gru",
        cell=functools.partial(nn.GRUCell, param_dtype=jnp.float64),
        supervised_truncation=3,
        auxiliary_truncation=7,
        decoder_truncation=2,
        lengths=PADDED,
    ),
}


def check_against_naive(problem: Problem, classify: bool) -> None:
    library = jax.jit(jax.value_and_grad(functools.partial(problem.losses, classify=classify), has_aux=True))
    reference = jax.value_and_grad(naive.total_loss, argnums=1, has_aux=True)
    labels = problem.labels if classify else None
    expected = reference(problem.config, problem.params, problem.inputs, problem.own_lengths, labels, problem.anchors)
    chex.assert_trees_all_close(library(problem.params), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("case", NAIVE_CASES)
def test_losses_and_gradients_equal_the_naive_method(case):
    check_against_naive(make_problem(seed=1, **NAIVE_CASES[case]), classify=True)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("truncation", [0, 7, "full"])
def test_pretraining_loss_and_gradients_equal_the_naive_method(truncation):
    check_against_naive(make_problem(lengths=PADDED, auxiliary_truncation=truncation, seed=2), classify=False)


# ---- Without a cut the gradient is the derivative


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("teacher_forcing", [True, False], ids=["forced", "free"])
def test_gradient_without_cuts_equals_finite_differences(teacher_forcing):
    problem = make_problem(lengths=PADDED, teacher_forcing=teacher_forcing, seed=3)
    evaluate = jax.jit(jax.value_and_grad(lambda params: problem.losses(params)[0]))
    _, gradient = evaluate(problem.params)
    step = 1e-5
    for key in jax.random.split(jax.random.key(4), 4):
        direction = randomize(problem.params, key)
        ahead, behind = (
            evaluate(jax.tree.map(lambda p, d, s=sign: p + s * step * d, problem.params, direction))[0]
            for sign in (1, -1)
        )
        slope = sum(jax.tree.leaves(jax.tree.map(jnp.vdot, gradient, direction)))
        np.testing.assert_allclose((ahead - behind) / (2 * step), slope, rtol=1e-7)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("truncation", ["full", L, 5 * L])
def test_gradient_without_cuts_equals_that_of_flax_over_the_whole_sequence(truncation):
    problem = make_problem(auxiliary="none", supervised_truncation=truncation, seed=5)

    def plain_loss(params: Any) -> jax.Array:
        encoder = params["encoder"]
        embedded = naive.dense(encoder["embedding"]["linear"], problem.inputs)
        network = nn.RNN(LSTMCell(problem.config.hidden_size))
        hidden = network.apply({"params": {"cell": encoder["cell"]}}, embedded)
        logits = naive.head(params["head"], hidden[:, -1])
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, problem.labels))

    actual = jax.jit(jax.grad(lambda params: problem.losses(params)[0]))(problem.params)
    chex.assert_trees_all_close(actual, jax.jit(jax.grad(plain_loss))(problem.params), rtol=1e-9, atol=1e-12)


# ---- Truncation is about gradients alone


@pytest.mark.parametrize("lengths", [None, PADDED], ids=["unpadded", "padded"])
def test_no_truncation_changes_a_loss(lengths):
    problem = make_problem(lengths=lengths)
    total, each = jax.jit(problem.losses)(problem.params)
    for supervised, auxiliary, decoder in [(0, 0, 1), (1, 7, 3), (7, 3, 2), ("full", 8, L), (L, "full", S)]:
        cut = make_problem(
            lengths=lengths,
            supervised_truncation=supervised,
            auxiliary_truncation=auxiliary,
            decoder_truncation=decoder,
        )
        chex.assert_trees_all_close(jax.jit(cut.losses)(problem.params), (total, each), rtol=1e-5)
        _, alone = jax.jit(functools.partial(cut.losses, classify=False))(problem.params)
        chex.assert_trees_all_close(alone, {kind: each[kind] for kind in alone}, rtol=1e-5)


# ---- Chunked scan


class Chunked(nn.Module):
    """An LSTM over `[steps, B, E]`, cut every `chunk_length` steps."""

    chunk_length: Any

    @nn.compact
    def __call__(self, state: Any, elements: jax.Array) -> tuple[Any, jax.Array]:
        def step(cell: nn.Module, state: Any, element: jax.Array) -> tuple[Any, jax.Array]:
            return cell(state, element)

        return scan_chunks(step, LSTMCell(4, name="cell"), state, elements, self.chunk_length)


@pytest.mark.parametrize("chunk_length", [1, 2, 3, 5, 7, 9, "full"])
def test_scan_chunks(chunk_length):
    steps, batch = 7, 2
    keys = jax.random.split(jax.random.key(6), 4)
    elements = jax.random.normal(keys[0], (steps, batch, 3))
    initial = (jax.random.normal(keys[1], (batch, 4)), jax.random.normal(keys[2], (batch, 4)))
    module = Chunked(chunk_length)
    shapes = jax.eval_shape(module.init, keys[3], initial, elements)
    variables = randomize(shapes, keys[3])

    state, expected = initial, []
    for element in elements:
        state, output = LSTMCell(4).apply({"params": variables["params"]["cell"]}, state, element)
        expected.append(output)
    run = jax.jit(module.apply)
    chex.assert_trees_all_close(run(variables, initial, elements), (state, jnp.stack(expected)), rtol=1e-5, atol=1e-6)

    jacobian = jax.jit(jax.jacrev(lambda initial: jnp.sum(module.apply(variables, initial, elements)[1], axis=(1, 2))))
    first_chunk = steps if chunk_length == "full" else chunk_length
    for leaf in jax.tree.leaves(jacobian(initial)):
        reached = np.asarray(leaf != 0).reshape(steps, -1)
        chex.assert_trees_all_equal(reached.any(-1), np.arange(steps) < first_chunk)
        chex.assert_trees_all_equal(reached.any(-1), reached.all(-1))


# ---- The cell


def test_lstm_cell_equals_that_of_flax():
    keys = jax.random.split(jax.random.key(7), 4)
    carry = (jax.random.normal(keys[0], (2, 4)), jax.random.normal(keys[1], (2, 4)))
    inputs = jax.random.normal(keys[2], (2, 3))
    ours = LSTMCell(4)
    params = randomize(jax.eval_shape(ours.init, keys[3], carry, inputs)["params"], keys[3])
    theirs = {}
    for index, gate in enumerate("ifgo"):
        own = slice(4 * index, 4 * index + 4)
        theirs[f"i{gate}"] = {"kernel": params["input_kernel"][:, own]}
        theirs[f"h{gate}"] = {"kernel": params["recurrent_kernel"][:, own], "bias": params["bias"][own]}
    expected = nn.LSTMCell(4).apply({"params": theirs}, carry, inputs)
    chex.assert_trees_all_close(ours.apply({"params": params}, carry, inputs), expected, rtol=1e-5, atol=1e-6)


def test_forget_gate_is_open_at_the_start():
    model = AuxiliaryRNN(ModelConfig(**{**SMALL, "auxiliary": "none"}), PIXELS)
    params = model.init(jax.random.key(8), jnp.zeros((1, L, C)))["params"]
    chex.assert_trees_all_equal(params["encoder"]["cell"]["bias"], jnp.repeat(jnp.array([0.0, 1.0, 0.0, 0.0]), 4))
