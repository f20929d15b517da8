"""What each preset sets: the one file to edit.

The flag values of a run are, later ones winning: the preset's `settings`, its data set's, its model's (MODELS), its
`models[model]`, and last what makes the run what it is: truncation, seed. What nobody sets takes the default of
`aux_rnn/config.py`, which is the paper's. A data set is `name: flag values`, by its name in reports and --datasets.
Runs of other values get folders of their own. Records of other values are refused, not mixed: move them away, or name
another --results.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from aux_rnn.settings import Truncation

FlagValues = Mapping[str, Any]

EXPERIMENTS = ("table2", "lengths", "bptt", "curves", "text", "ablations")

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
      ablations: in `ablations`, what each row changes of the truncated r-LSTM.
      truncations: how far the supervised gradient reaches in `bptt`, in steps.
      longest: in `lengths`, the longest sequence that a model is run on, by model or 'model truncation'.
    """

    settings: FlagValues
    models: Mapping[str, FlagValues]
    data: Mapping[str, Mapping[str, FlagValues]]
    ablations: Mapping[str, FlagValues]
    truncations: tuple[Truncation, ...]
    longest: Mapping[str, int]


def dogs(*sides: int) -> dict[str, FlagValues]:
    return {f"stanford_dogs-{side}": dict(dataset="stanford_dogs", image_size=side) for side in sides}


def recall(*lengths: int) -> dict[str, FlagValues]:
    return {f"recall-{length}": dict(dataset="recall", sequence_length=length) for length in lengths}


SIDES = (28, 32, 40, 48, 64, 80, 96, 128)

# What each row of `ablations` changes of the truncated r-LSTM.
ABLATIONS: Mapping[str, FlagValues] = {
    "true inputs at weight 1": dict(decoder_input_dropout=0.0, auxiliary_weight=1.0),
    "true inputs": dict(decoder_input_dropout=0.0),
    "first input only": dict(decoder_input_dropout=1.0),
    "own output fed back": dict(decoder_input_dropout=0.0, teacher_forcing=False),
    "weight 1": dict(auxiliary_weight=1.0),
    "weight 3": dict(auxiliary_weight=3.0),
    "weight 30": dict(auxiliary_weight=30.0),
    "softmax at weight 1": dict(pixel_loss="softmax", auxiliary_weight=1.0),
    "4 anchors": dict(num_anchors=4),
    "DropConnect 0.5": dict(dropconnect=0.5),
    "RMSProp 1e-3": dict(optimizer="rmsprop", learning_rate=1e-3),
    "auxiliary gradient only": dict(supervised_truncation=0),
    "GRU": dict(encoder="gru"),
    "GRU without auxiliary": dict(encoder="gru", auxiliary="none"),
}

# In `lengths` of real images on a CPU: the same reach and segment at every length.
CPU_LENGTHS = dict(
    supervised_truncation=100, auxiliary_truncation=100, decoder_truncation=100, segment_length=200, batch_size=32
)

# What a search on validation data found (results/ablations): with true inputs at every step and a weight of 1 the
# decoder leans on the previous element, and the state at the anchor learns little. The paper adds its losses without a
# weight, but it is not known whether its auxiliary loss is a mean or a sum over 600 elements, and feeding true inputs
# is optional there.
FOUND = dict(decoder_input_dropout=0.5, auxiliary_weight=10.0)

# The paper's data and sizes. What was found holds for small networks and has not been tried at this size. Weeks on a
# CPU; meant for accelerators, in shards.
PAPER = Preset(
    settings=FOUND,
    models={},
    data=dict(
        table2={"mnist": dict(dataset="mnist"), "pmnist": dict(dataset="pmnist"), "cifar10": dict(dataset="cifar10")},
        lengths=dogs(*SIDES),
        bptt={"cifar10": dict(dataset="cifar10")},
        curves={"cifar10": dict(dataset="cifar10")},
        text={"dbpedia": dict(dataset="dbpedia", segment_length=300)},
        ablations={"cifar10": dict(dataset="cifar10")},
    ),
    ablations={
        **ABLATIONS,
        "segment of 300": dict(segment_length=300),
        "segment of 150": dict(segment_length=150),
        "no pretraining": dict(pretrain_epochs=0),
    },
    truncations=(0, 1, 50, 100, 200, 300, 600, "full"),
    longest={"transformer": 1_600},
)

# The sizes of experiments/flags/digits.flags. Small networks and many updates are what a CPU is good for.
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
# 25,600 parameters in its layers; the LSTM has 24,800.
SMALL_TRANSFORMER = dict(transformer_size=32, transformer_layers=3)

# Real data, shrunken: hours on a CPU.
SMALL_IMAGES = dict(image_size=14, train_examples=10_000, segment_length=28)
SMALL = Preset(
    settings={
        **SMALL_NETWORK,
        **FOUND,
        "auxiliary_weight": 100.0,
        "pretrain_epochs": 5,
        "train_epochs": 10,
        "evaluate_every_epochs": 5,
    },
    models={"transformer": SMALL_TRANSFORMER},
    data=dict(
        table2={name: dict(dataset=name, **SMALL_IMAGES) for name in ("mnist", "pmnist", "cifar10")},
        # Time and memory: a few steps each, which teach nobody 120 breeds.
        lengths={
            name: dict(**values, **CPU_LENGTHS, train_examples=256, pretrain_epochs=1, train_epochs=2)
            for name, values in dogs(*SIDES).items()
        },
        bptt={"mnist": dict(dataset="mnist", **SMALL_IMAGES)},
        curves={"mnist": dict(dataset="mnist", **SMALL_IMAGES)},
        text={"dbpedia": dict(dataset="dbpedia", sequence_length=256, train_examples=10_000, segment_length=28)},
        ablations={"mnist": dict(dataset="mnist", **SMALL_IMAGES)},
    ),
    ablations={
        **ABLATIONS,
        "segment of 14": dict(segment_length=14),
        "segment of 98": dict(segment_length=98),
        "no pretraining": dict(pretrain_epochs=0),
    },
    truncations=(0, 1, 2, 4, 14, 49, 98, "full"),
    longest={"transformer": 1_600},
)

# Stand-ins that need no network: minutes on a CPU.
DIGITS = Preset(
    settings={
        **SMALL_NETWORK,
        **FOUND,
        "segment_length": 24,
        "pretrain_epochs": 20,
        "train_epochs": 60,
        "evaluate_every_epochs": 10,
        "log_every_steps": 100,
    },
    models={"transformer": SMALL_TRANSFORMER},
    data=dict(
        table2={"digits": dict(dataset="digits")},
        lengths={
            name: dict(**values, train_examples=640, pretrain_epochs=2, train_epochs=4, evaluate_every_epochs=4)
            for name, values in recall(64, 128, 256, 512, 1_024, 2_048, 4_096, 16_384).items()
        },
        bptt={"digits": dict(dataset="digits")},
        curves={"digits": dict(dataset="digits")},
        text={"digits_text": dict(dataset="digits_text")},
        ablations={"digits": dict(dataset="digits")},
    ),
    ablations={
        **ABLATIONS,
        "segment of 12": dict(segment_length=12),
        "segment of 48": dict(segment_length=48),
        "no pretraining": dict(pretrain_epochs=0),
        "LSTM for 80 epochs": dict(auxiliary="none", train_epochs=80),
    },
    truncations=(0, 1, 2, 4, 8, 16, "full"),
    longest={"lstm full": 4_096, "transformer": 1_024},
)

PRESETS: Mapping[str, Preset] = {"paper": PAPER, "small": SMALL, "digits": DIGITS}
