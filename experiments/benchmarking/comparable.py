"""Which settings two programs can be compared on, and what a comparison leaves out."""

from aux_rnn.config import Config, SequenceSpec
from aux_rnn.settings import ConfigError, reject

PEER = "for the comparison with PyTorch"


def check_peer(config: Config) -> None:
    """Raises ConfigError for settings that the PyTorch version of the step does not have."""
    model = config.model
    for name, allowed in (
        ("encoder", "lstm"),
        ("precision", "float32"),
        ("dropconnect", 0.0),
        ("teacher_forcing", True),
        ("pixel_loss", "squared"),
        ("num_anchors", 1),
    ):
        value = getattr(model, name)
        if value != allowed:
            raise reject(name, value, f"{str(allowed).lower()} {PEER}")
    if len(set(model.decoder_sizes)) > 1:  # nn.LSTM has one size for all its layers
        raise reject("decoder_sizes", model.decoder_sizes, f"layers of one size {PEER}")


def check_peer_data(config: Config, spec: SequenceSpec, platform: str) -> None:
    """Raises ConfigError for sequences of tokens, and where JAX has devices that PyTorch does not share."""
    if spec.vocabulary_size:
        raise reject("dataset", config.data.dataset, f"one of pixels {PEER}")
    if platform not in ("cpu", "gpu"):
        raise ConfigError(f"JAX runs on a {platform} here: it must be on a CPU or a GPU {PEER}")


def describe_ignored(config: Config) -> list[str]:
    """What the PyTorch version does otherwise without a difference in speed worth measuring."""
    notes = ["PyTorch: one anchor for the whole batch instead of one for each example"]
    if config.model.decoder_input_dropout:
        notes.append("PyTorch: --decoder_input_dropout is ignored; zeros among the inputs cost as much")
    if config.data.dataset == "pmnist":
        notes.append("PyTorch: the pixels are read in order; a permutation costs next to nothing")
    return notes


def check_scan(config: Config) -> None:
    """Raises ConfigError where the default is the plain scan already."""
    model = config.model
    if model.encoder != "lstm":
        raise reject("encoder", model.encoder, "lstm to compare with --recurrence=scan, which others use already")
    if model.recurrence == "scan":
        raise reject("recurrence", "scan", "auto or fused to be compared with --recurrence=scan")
