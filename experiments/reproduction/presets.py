"""What each preset sets: the one file to edit.

The flag values of a run are, later ones winning: the preset's `settings`, its data set's, its model's (MODELS), its
`models[model]`, and last what makes the run what it is: truncation, seed. What nobody sets takes the default of
`aux_rnn/config.py`, which is the paper's. A data set is `name: flag values`, by its name in reports and --datasets.
Values may be changed at will: runs and records of other values are told apart, not mixed.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from aux_rnn.settings import Truncation

FlagValues = Mapping[str, Any]

EXPERIMENTS = ("table2", "lengths", "bptt", "curves", "text")

MODELS: Mapping[str, FlagValues] = {
    "lstm": dict(auxiliary="none"),
    "r-lstm": dict(auxiliary="reconstruct"),
    "p-lstm": dict(auxiliary="predict"),
    "both": dict(auxiliary="both"),
    "transformer": dict(encoder="transformer", auxiliary="none"),
    "r-lstm-cut-both": dict(auxiliary="reconstruct"),  # bptt: the auxiliary loss is cut as short as the supervised one
}


@dataclasses.dataclass(frozen=True)
class Preset:
    """Sizes and data of all experiments.

    Attributes:
      settings: flag values of every run.
      models: further flag values of single models.
      data: for each experiment its data sets.
      truncations: how far the supervised gradient reaches in `bptt`, in steps.
      longest: in `lengths`, the longest sequence that a model is run on, by model or 'model truncation'.
    """

    settings: FlagValues
    models: Mapping[str, FlagValues]
    data: Mapping[str, Mapping[str, FlagValues]]
    truncations: tuple[Truncation, ...]
    longest: Mapping[str, int]


def dogs(*sides: int) -> dict[str, FlagValues]:
    return {f"stanford_dogs-{side}": dict(dataset="stanford_dogs", image_size=side) for side in sides}


def recall(*lengths: int) -> dict[str, FlagValues]:
    return {f"recall-{length}": dict(dataset="recall", sequence_length=length) for length in lengths}


# The paper's data and settings. Weeks on a CPU; meant for accelerators, in shards.
PAPER = Preset(
    settings={},
    models={},
    data=dict(
        table2={"mnist": dict(dataset="mnist"), "pmnist": dict(dataset="pmnist"), "cifar10": dict(dataset="cifar10")},
        lengths=dogs(28, 32, 40, 48, 64, 80, 96, 128),
        bptt={"cifar10": dict(dataset="cifar10")},
        curves={"cifar10": dict(dataset="cifar10")},
        text={"dbpedia": dict(dataset="dbpedia")},
    ),
    truncations=(0, 1, 50, 100, 200, 300, 600, "full"),
    longest={},
)

# The sizes of experiments/flags/digits.flags.
SMALL_NETWORK = dict(
    embedding_size=32,
    hidden_size=64,
    head_sizes=(64, 64),
    decoder_sizes=(64, 64),
    decoder_head_sizes=(64, 64),
    supervised_truncation=4,
    auxiliary_truncation=4,
    decoder_truncation="full",
    optimizer="adam",
    learning_rate=2e-3,
    batch_size=64,
)
SMALL_TRANSFORMER = dict(transformer_size=64)

# Real data, shrunken: hours on a CPU.
SMALL_IMAGES = dict(image_size=14, train_examples=10_000, segment_length=28)
SMALL = Preset(
    settings={**SMALL_NETWORK, "pretrain_epochs": 10, "train_epochs": 15, "evaluate_every_epochs": 5},
    models={"transformer": SMALL_TRANSFORMER},
    data=dict(
        table2={name: dict(dataset=name, **SMALL_IMAGES) for name in ("mnist", "pmnist", "cifar10")},
        lengths={
            name: dict(**values, segment_length=56, pretrain_epochs=2, train_epochs=5)
            for name, values in dogs(28, 40, 64, 128).items()
        },
        bptt={"cifar10": dict(dataset="cifar10", **SMALL_IMAGES)},
        curves={"cifar10": dict(dataset="cifar10", **SMALL_IMAGES)},
        text={"dbpedia": dict(dataset="dbpedia", train_examples=10_000, segment_length=56)},
    ),
    truncations=(0, 1, 2, 4, 14, 49, 98, "full"),
    longest={"lstm full": 4_096, "transformer": 1_600},
)

# Stand-ins that need no network: minutes on a CPU.
DIGITS = Preset(
    settings={**SMALL_NETWORK, "segment_length": 24, "pretrain_epochs": 20, "train_epochs": 60}
    | {"evaluate_every_epochs": 10, "log_every_steps": 100},
    models={"transformer": SMALL_TRANSFORMER},
    data=dict(
        table2={"digits": dict(dataset="digits")},
        lengths={
            name: dict(**values, train_examples=640, pretrain_epochs=2, train_epochs=4)
            for name, values in recall(64, 128, 256, 512, 1_024, 2_048, 4_096, 16_384).items()
        },
        bptt={"digits": dict(dataset="digits")},
        curves={"digits": dict(dataset="digits")},
        text={"digits_text": dict(dataset="digits_text")},
    ),
    truncations=(0, 1, 2, 4, 8, 16, 32, "full"),
    longest={"lstm full": 4_096, "transformer": 1_024},
)

PRESETS: Mapping[str, Preset] = {"paper": PAPER, "small": SMALL, "digits": DIGITS}
