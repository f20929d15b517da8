"""The PyTorch version of the step: the same loss and gradients for the same parameters."""

import re

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from test_gradients import UNCUT, L, S, make_problem, truncate

from aux_rnn.config.serialization import from_flat
from aux_rnn.config.settings import Config
from aux_rnn.config.spec import SequenceSpec

torch = pytest.importorskip("torch")

from benchmarking import pytorch  # noqa: E402 (not where there is no PyTorch)
from benchmarking.measurements import make_batch  # noqa: E402

# From our names to those of PyTorch, for heads of two hidden layers, each followed by a ReLU that PyTorch counts. Our
# bias is the input's in PyTorch, whose second one is superfluous.
RENAMED = {
    r"^encoder\.|\.linear": "",
    r"^decoders_": "decoders.",
    r"^cell\.(\w+)": r"lstm.\1_l0",
    r"layers_(\d)\.(\w+)": r"lstm.\2_l\1",
    r"lstm\.bias": "lstm.bias_ih",
    r"input_kernel": "weight_ih",
    r"recurrent_kernel": "weight_hh",
    r"state_map\.Dense_0": "map_c",
    r"state_map\.Dense_1": "map_h",
    r"head\.Dense_0": "head.0",
    r"head\.Dense_1": "head.2",
    r"head\.output": "head.4",
    r"kernel$": "weight",
}


def as_pytorch(params):
    """Our parameters, or gradients of them, by PyTorch's names."""
    named = {}
    for name, value in flatten_dict(params, sep=".").items():
        for ours, theirs in RENAMED.items():
            name = re.sub(ours, theirs, name)
        named[name] = np.asarray(value).T
    return named


HEADS = dict(head_sizes=(5, 7), decoder_head_sizes=(6, 8))


def case(truncations, decoder_sizes=(4, 4), **anchors):
    """Returns the settings and the anchors, of which PyTorch has one per batch."""
    auxiliary = "both" if len(anchors) == 2 else next(iter(anchors), "none")
    return {**truncations, **HEADS, "auxiliary": auxiliary, "decoder_sizes": decoder_sizes}, anchors


CASES = {
    "none": case(truncate(4, 3, "full")),
    "none, full": case(UNCUT),
    "reconstruct": case(truncate(4, 4, "full"), reconstruct=9),
    "reconstruct, full": case(UNCUT, reconstruct=9),
    "predict, clipped by the start": case(truncate(4, 4, "full"), predict=2),
    "predict, no supervised gradient in the encoder": case(truncate(0, 3, "full"), (5, 5), predict=7),
    "both, truncated in the decoder": case(truncate(5, 3, 2), (5, 5, 5), reconstruct=5, predict=7),
    "both, one of them full": case(truncate(5, "full", "full"), (5,), reconstruct=10, predict=6),
}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients_are_ours(case):
    settings, anchors = CASES[case]
    problem = make_problem(**settings)
    problem = problem._replace(anchors={kind: np.full((3, 1), anchor) for kind, anchor in anchors.items()})
    (expected, _), gradients = jax.jit(jax.value_and_grad(problem.losses, has_aux=True))(problem.params)

    network = pytorch.Network(Config(model=problem.config), problem.model.spec).double()
    state = {name: torch.tensor(value) for name, value in as_pytorch(problem.params).items()}
    superfluous = {name: torch.zeros_like(value) for name, value in network.state_dict().items() if "bias_hh" in name}
    network.load_state_dict(state | superfluous)
    inputs, labels = torch.tensor(np.asarray(problem.inputs)), torch.tensor(np.asarray(problem.labels))
    loss = network(inputs.swapaxes(0, 1), labels, anchors)
    loss.backward()

    assert loss.item() == pytest.approx(float(expected), rel=1e-9)
    found = {name: parameter.grad for name, parameter in network.named_parameters() if "bias_hh" not in name}
    named = as_pytorch(gradients)
    assert set(found) == set(named)
    for name, gradient in named.items():
        other = np.zeros_like(gradient) if found[name] is None else found[name].numpy()
        np.testing.assert_allclose(other, gradient, rtol=1e-9, atol=1e-12, err_msg=name)


def test_a_step_learns_and_draws_anchors_where_the_segment_fits():
    config = from_flat(dict(dataset="digits", auxiliary="both", segment_length=S, batch_size=3, learning_rate=1e-2))
    random = np.random.default_rng(0)
    drawn = [pytorch.draw_anchors(config, L, random) for _ in range(200)]
    assert {d["reconstruct"] for d in drawn} == set(range(5, 13))
    assert {d["predict"] for d in drawn} == set(range(1, 8))
    spec, program = SequenceSpec(length=L, channels=2, num_classes=4), pytorch.Program()
    program.prepare(config, spec, make_batch(spec, 3))
    losses = [program.step() and program.loss for _ in range(30)]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
