"""Data sets and sizes of each preset, based on the flag files in `experiments/flags`.

The settings of a run are those of its data set, its model or ablation, its truncation and its seed; later ones override
earlier ones. Runs with different settings have different folders, and records with different settings are refused.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cli import parsing
from cli.flag_files import FLAG_FILES

from aux_rnn.config.fields import Truncation
from reproduction.models import PAPER_DATA

Settings = Mapping[str, Any]


class Preset(NamedTuple):
    """Data sets and sizes of the experiments.

    Attributes:
      data: for each experiment that the preset has, its data sets.
      changes: further settings of a model; those by other names are the rows of `ablations`, changes to the r-LSTM.
      truncations: in `bptt`, the steps of the supervised gradient.
      longest: the longest sequence that a model is run on, by model or 'model truncation'; 0 leaves its rows out.
    """

    data: Mapping[str, Mapping[str, Settings]]
    changes: Mapping[str, Settings]
    truncations: Sequence[Truncation]
    longest: Mapping[str, int]


def read_flags(*names: str, **changes: Any) -> dict[str, Any]:
    """Returns the values that flag files in `experiments/flags` set, with changes; later ones win."""
    files = [f"--flagfile={FLAG_FILES / name}.flags" for name in names]
    _, parsed = parsing.parse_options(["", *files], "", parsing.SETTINGS)
    return {name: parsed[name].value for name in parsed if parsed[name].present} | changes


def read_images(*names: str, **changes: Any) -> dict[str, Settings]:
    """Returns the data sets of the paper's table 2, with further flag files and changes after those of each."""
    return {data: read_flags(data.removesuffix("10"), *names, **changes) for data in PAPER_DATA}


def use_images(images: Mapping[str, Settings], single: str) -> dict[str, Mapping[str, Settings]]:
    """Returns the data sets of table2, and one of them for each experiment on a single data set."""
    return {"table2": images} | {name: {single: images[single]} for name in ("bptt", "curves", "compute", "ablations")}


def vary(values: Settings, setting: str, numbers: Sequence[int]) -> dict[str, Settings]:
    """Returns one data set per value of a setting, such as 'recall-64'."""
    return {f"{values['dataset']}-{number}": {**values, setting: number} for number in numbers}


RMSPROP = dict(optimizer="rmsprop", learning_rate=1e-3)


def make_ablations(*segment_lengths: int) -> dict[str, Settings]:
    return {
        "true inputs at weight 1": dict(decoder_input_dropout=0.0, auxiliary_weight=1.0),
        "true inputs": dict(decoder_input_dropout=0.0),
        "first input only": dict(decoder_input_dropout=1.0),
        "own output fed back": dict(decoder_input_dropout=0.0, teacher_forcing=False),
        **{f"weight {weight}": dict(auxiliary_weight=float(weight)) for weight in (1, 3, 30)},
        "softmax at weight 1": dict(pixel_loss="softmax", auxiliary_weight=1.0),
        "4 anchors": dict(num_anchors=4),
        "DropConnect 0.5": dict(dropconnect=0.5),
        "RMSProp, optax": RMSPROP | dict(rmsprop_epsilon=1e-8),
        "RMSProp, epsilon 1e-10": RMSPROP | dict(rmsprop_epsilon=1e-10),
        "RMSProp, TensorFlow 1": RMSPROP | dict(rmsprop_epsilon=1e-10, rmsprop_initial=1.0),
        # PyTorch adds 1e-8 to the root of the mean square, which is 1e-16 inside of it for a mean square of zero.
        "RMSProp, nearly PyTorch": RMSPROP | dict(rmsprop_epsilon=1e-16),
        "auxiliary gradient only": dict(supervised_truncation=0),
        "GRU": dict(encoder="gru"),
        "GRU without auxiliary": dict(encoder="gru", auxiliary="none"),
        **{f"segment of {length}": dict(segment_length=length) for length in segment_lengths},
        "no pretraining": dict(pretrain_epochs=0),
    }


DOGS_SIDES = (28, 32, 40, 48, 64, 80, 96, 128)
# 25,600 parameters in its layers; the LSTM of small.flags and digits.flags has 24,800.
SMALL_TRANSFORMER = {"transformer": dict(transformer_size=32, transformer_layers=3)}

# The paper's data and sizes: weeks on a CPU; meant for accelerators, in shards.
IMAGES = read_images()
CIFAR = IMAGES["cifar10"]
PAPER = Preset(
    data=use_images(IMAGES, "cifar10")
    | {
        "lengths": vary({**CIFAR, "dataset": "stanford_dogs"}, "image_size", DOGS_SIDES),
        "text": {"dbpedia": {**CIFAR, "dataset": "dbpedia", "segment_length": 300}},
    },
    changes=make_ablations(300, 150),
    truncations=(0, 1, 50, 100, 200, 300, 600, "full"),
    longest={"transformer": 1_600},
)

# The same sequences at their full length, small networks: about 25 minutes per run of the r-LSTM on one CPU core.
FULL_IMAGES = read_images("full")
FULL_ABLATIONS = make_ablations(28, 300) | {
    "LSTM for 16 epochs": dict(auxiliary="none", train_epochs=16),  # as many FLOPs as the r-LSTM
    "r-LSTM for 16 epochs": dict(train_epochs=16),
    "128 units": dict(hidden_size=128),
    "128 units without auxiliary": dict(hidden_size=128, auxiliary="none"),
}
del FULL_ABLATIONS["first input only"]  # what the r-LSTM of the preset has
FULL = Preset(
    data=use_images(FULL_IMAGES, "mnist") | {"ablations": {name: FULL_IMAGES[name] for name in ("mnist", "cifar10")}},
    changes=FULL_ABLATIONS,
    truncations=(28, 100, 300, "full"),
    longest=dict.fromkeys(("r-lstm full", "p-lstm full", "both full", "r-lstm-cut-both full", "transformer"), 0),
)

# The same images, shrunken: hours on a CPU. Its `lengths`, for time and memory, have few steps and truncate all losses
# alike.
FEW_STEPS = dict(segment_length=200, batch_size=32, train_examples=256, pretrain_epochs=1, train_epochs=2)
FEW_STEPS |= dict.fromkeys(("supervised_truncation", "auxiliary_truncation", "decoder_truncation"), 100)
SMALL = Preset(
    data=use_images(read_images("small", rmsprop_epsilon=1e-8), "mnist")  # as recorded; Adam does not use it
    | {
        "lengths": vary(read_flags("small", dataset="stanford_dogs", **FEW_STEPS), "image_size", DOGS_SIDES),
        "text": {"dbpedia": read_flags("small", dataset="dbpedia", sequence_length=256, image_size=0)},
    },
    changes=SMALL_TRANSFORMER | make_ablations(14, 98),
    truncations=(0, 1, 2, 4, 14, 49, 98, "full"),
    longest={"transformer": 1_600},
)

# Small stand-ins that need no network: minutes on a CPU.
FEW_EPOCHS = dict(train_examples=640, pretrain_epochs=2, train_epochs=4, evaluate_every_epochs=4)
RECALL = read_flags("digits", dataset="recall", **FEW_EPOCHS)
DIGITS = Preset(
    data=use_images({"digits": read_flags("digits")}, "digits")
    | {
        "lengths": vary(RECALL, "sequence_length", (64, 128, 256, 512, 1_024, 2_048, 4_096, 16_384)),
        "text": {"digits_text": read_flags("digits", dataset="digits_text")},
    },
    changes=SMALL_TRANSFORMER
    | make_ablations(12, 48)
    | {"LSTM for 80 epochs": dict(auxiliary="none", train_epochs=80)},
    truncations=(0, 1, 2, 4, 8, 16, "full"),
    longest={"lstm full": 4_096, "transformer": 1_024},
)

PRESETS: dict[str, Preset] = {"paper": PAPER, "full": FULL, "small": SMALL, "digits": DIGITS}
