"""The PyTorch version of the step: the same loss and gradients for the same parameters."""

import jax
import numpy as np
import pytest
from test_gradients import UNCUT, L, S, make_problem, truncate

from aux_rnn.config.serialization import from_flat
from aux_rnn.config.settings import Config
from aux_rnn.config.spec import SequenceSpec

torch = pytest.importorskip("torch")

from benchmarking import pytorch  # noqa: E402 (not where there is no PyTorch)
from benchmarking.measurements import make_batch  # noqa: E402


def as_linear(name, params):
    return {f"{name}.weight": params["kernel"].T, f"{name}.bias": params["bias"]}


def as_embedding(name, params):
    return as_linear(f"{name}.embedding", params["embedding"]["linear"])


def as_lstm(name, *layers):
    """Our bias is the input's in PyTorch, whose second one is superfluous."""
    named = {}
    for k, layer in enumerate(layers):
        named[f"{name}.weight_ih_l{k}"] = layer["input_kernel"].T
        named[f"{name}.weight_hh_l{k}"] = layer["recurrent_kernel"].T
        named[f"{name}.bias_ih_l{k}"] = layer["bias"]
    return named


def as_head(name, params):
    """Numbers the linear layers; the odd places are those of ReLUs."""
    named = {}
    for k, layer in enumerate(sorted(params)):  # Dense_0, Dense_1, ..., output
        named |= as_linear(f"{name}.{2 * k}", params[layer])
    return named


def as_pytorch(params):
    """Our parameters, or gradients of them, by PyTorch's names."""
    encoder = params["encoder"]
    named = {**as_embedding("encoder", encoder), **as_lstm("encoder.lstm", encoder["cell"])}
    named = {name.removeprefix("encoder."): value for name, value in named.items()} | as_head("head", params["head"])
    for key in params:
        if not key.startswith("decoders_"):
            continue
        name, decoder = key.replace("_", ".", 1), params[key]
        layers = [decoder[layer] for layer in sorted(decoder) if layer.startswith("layers_")]
        named |= as_embedding(name, decoder) | as_lstm(f"{name}.lstm", *layers)
        named |= as_head(f"{name}.head", decoder["head"])
        for part, layer in (("map_c", "Dense_0"), ("map_h", "Dense_1")):
            named |= as_linear(f"{name}.{part}", decoder["state_map"][layer]) if "state_map" in decoder else {}
    return {name: np.asarray(value) for name, value in named.items()}


def case(truncations, decoder_sizes=(4, 4), **anchors):
    """Returns the settings and the anchors, of which PyTorch has one per batch."""
    auxiliary = "both" if len(anchors) == 2 else next(iter(anchors), "none")
    return dict(truncations, auxiliary=auxiliary, decoder_sizes=decoder_sizes, head_sizes=(5, 7)), anchors


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
