"""The PyTorch version of the step: the same loss and gradients for the same parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aux_rnn.config.serialization import from_flat
from aux_rnn.config.spec import SequenceSpec
from aux_rnn.model.losses import auxiliary_loss, supervised_loss
from aux_rnn.model.objective import Losses, make_model, total_loss
from aux_rnn.model.segments import slice_segments
from aux_rnn.training.plan import Plan
from aux_rnn.training.steps import create_train_state

torch = pytest.importorskip("torch")

from benchmarking import pytorch  # noqa: E402 (not where there is no PyTorch)
from benchmarking.measurements import make_batch  # noqa: E402

ROWS, LENGTH = 3, 16
SPEC = SequenceSpec(length=LENGTH, channels=2, num_classes=4)
SIZES = dict(embedding_size=4, hidden_size=6, decoder_sizes=(6, 6), head_sizes=(5, 7), decoder_head_sizes=(5,))
RUN = dict(dataset="digits", auxiliary_weight=3.0, segment_length=5, batch_size=ROWS, learning_rate=1e-2)
SETTINGS = SIZES | RUN


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


def load(network, params):
    """Gives the network our parameters, every one of them."""
    named = as_pytorch(params)
    state = {name: torch.tensor(value) for name, value in named.items()}
    superfluous = {n: torch.zeros_like(v) for n, v in network.state_dict().items() if "bias_hh" in n}
    network.load_state_dict(state | superfluous)


def our_loss(config, params, inputs, labels, anchors):
    lengths = jnp.full(ROWS, LENGTH)
    segments = {
        kind: slice_segments(kind, inputs, lengths, jnp.full((ROWS, 1), anchor), config.model.segment_length)
        for kind, anchor in anchors.items()
    }
    logits, decoded = make_model(config.model, SPEC).apply({"params": params}, inputs, None, segments)
    mask = jnp.ones(ROWS, bool)
    auxiliary = {kind: auxiliary_loss(decoded[kind], segments[kind], mask) for kind in segments}
    return total_loss(Losses(logits, supervised_loss(logits, labels, mask), auxiliary), config.model.auxiliary_weight)


def case(auxiliary, truncation, auxiliary_truncation=3, sizes=(6, 6), decoder="full", **anchors):
    settings = dict(auxiliary=auxiliary, supervised_truncation=truncation, auxiliary_truncation=auxiliary_truncation)
    return dict(settings, decoder_sizes=sizes, decoder_truncation=decoder), anchors


CASES = {
    "none": case("none", 4),
    "none, full": case("none", "full"),
    "reconstruct": case("reconstruct", 4, 4, reconstruct=9),
    "reconstruct, full": case("reconstruct", "full", "full", reconstruct=9),
    "predict, clipped by the start": case("predict", 4, 4, predict=2),
    "predict, no supervised gradient in the encoder": case("predict", 0, 3, (5, 5), predict=11),
    "both, truncated in the decoder": case("both", 5, 3, (5, 5, 5), 2, reconstruct=5, predict=7),
    "both, one of them full": case("both", 5, "full", (5,), reconstruct=10, predict=11),
}


@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients_are_ours(case):
    settings, anchors = CASES[case]
    config = from_flat({**SETTINGS, **settings})
    random = np.random.default_rng(0)
    inputs = random.random((ROWS, LENGTH, SPEC.channels), np.float32)
    labels = random.integers(0, SPEC.num_classes, ROWS)
    params = create_train_state(config, SPEC, Plan.of(config, 1)).params
    expected, gradients = jax.jit(jax.value_and_grad(lambda p: our_loss(config, p, inputs, labels, anchors)))(params)

    network = pytorch.Network(config, SPEC)
    load(network, params)
    loss = network(torch.tensor(inputs).swapaxes(0, 1), torch.tensor(labels), anchors)
    loss.backward()

    assert loss.item() == pytest.approx(float(expected), rel=1e-5)
    found = {name: parameter.grad for name, parameter in network.named_parameters() if "bias_hh" not in name}
    named = as_pytorch(gradients)
    assert set(found) == set(named)
    for name, gradient in named.items():
        other = np.zeros_like(gradient) if found[name] is None else found[name].numpy()
        np.testing.assert_allclose(other, gradient, rtol=1e-5, atol=1e-6 * np.abs(gradient).max() + 1e-9, err_msg=name)


def test_a_step_learns_and_draws_anchors_where_the_segment_fits():
    config = from_flat({**SETTINGS, "auxiliary": "both"})
    random = np.random.default_rng(0)
    drawn = [pytorch.draw_anchors(config, LENGTH, random) for _ in range(200)]
    assert {d["reconstruct"] for d in drawn} == set(range(5, 17))
    assert {d["predict"] for d in drawn} == set(range(1, 12))
    program = pytorch.Program()
    program.prepare(config, SPEC, make_batch(SPEC, ROWS))
    losses = [program.step() and program.loss for _ in range(30)]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
