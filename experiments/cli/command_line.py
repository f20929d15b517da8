"""The command line of main.py."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from aux_rnn.config.fields import (
    ConfigError,
    checkpoint_name,
    integer,
    one_of,
    plain_text,
    setting,
    setting_error,
    switch,
)
from aux_rnn.config.serialization import from_flat
from aux_rnn.config.settings import Config
from cli.parsing import SETTINGS, define_settings, parse_words

MODES = {
    "train": "trains to the end, continuing the run in --workdir if there is one",
    "eval": "evaluates a checkpoint with its own settings",
    "predict": "writes the predictions for all examples of a split to --workdir",
    "reconstruct": "draws reconstructions of a checkpoint",
    "report": "writes report.html and the curves",
    "dry_run": "prints the settings, size, memory and expected time of a run as a flag file",
    "prepare": "prepares the data set and describes it",
}
DEVICES = integer(0, 1_024)
SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class RunFlags:
    """The flags of main.py that are not settings."""

    mode: str = setting("train", "; ".join(f"{mode}: {text}" for mode, text in MODES.items()) + ".", one_of(MODES))
    workdir: str = setting(
        "", "Folder or address (gs://BUCKET/RUN) of the run; empty: runs/DATASET-AUXILIARY-seedSEED.", plain_text()
    )
    checkpoint: str = setting(
        "latest",
        "Checkpoint to load with --mode=eval, predict or reconstruct: latest, best or a step.",
        checkpoint_name(),
    )
    split: str = setting("test", "Split to classify with --mode=predict.", one_of(SPLITS))
    extend: bool = setting(
        False,
        "Continue the run in --workdir to more epochs (--train_epochs) than it had; its learning rate is then halved "
        "at 30, 60 and 90 % of the new number.",
        switch(),
    )
    cpu_devices: int = setting(
        0, "CPU devices to divide a batch over; 0: one per core, as long as each has 16 examples or more.", DEVICES
    )
    num_processes: int = setting(
        0, "Number of processes of the run; 0: detected on Cloud TPUs and SLURM, otherwise one.", DEVICES
    )
    process_id: int = setting(-1, "Index of this process, from 0; -1: detected.", integer(-1))
    coordinator_address: str = setting(
        "", "HOST:PORT at which process 0 waits for the others; empty: detected.", plain_text()
    )
    topology: str = setting(
        "",
        "Hardware that --mode=dry_run compiles for, which need not be present: a TPU slice such as v5e:2x4, or h100; "
        "empty: this machine.",
        plain_text(),
    )


def define_flags() -> None:
    """Defines the flags of main.py: every setting and every field of `RunFlags`."""
    define_settings([*SETTINGS, *dataclasses.fields(RunFlags)], flags.FLAGS)


def parse(argv: Sequence[str]) -> list[str]:
    """Parses the command line, flag files included, into `flags.FLAGS`; returns the program's name alone.

    Raises ConfigError if anything is wrong.
    """
    words = parse_words(argv, flags.FLAGS)
    if words:
        raise ConfigError(
            f"{words[0]!r}: unexpected positional argument; write flags as --name=value, switches as --name or --noname"
        )
    return [argv[0]]


def config_from_flags(parsed: flags.FlagValues = flags.FLAGS) -> Config:
    """Returns the configuration in the parsed flags. Raises ConfigError if settings contradict each other."""
    return from_flat({field.name: getattr(parsed, field.name) for field in SETTINGS})


def read_flags() -> tuple[Config, RunFlags]:
    """Returns the settings and the other flags, with the workdir. Raises ConfigError if they contradict each other."""
    given = RunFlags(**{field.name: getattr(flags.FLAGS, field.name) for field in dataclasses.fields(RunFlags)})
    config = config_from_flags()
    if given.mode not in ("eval", "predict", "reconstruct") and given.checkpoint != "latest":
        raise ConfigError(f"--checkpoint={given.checkpoint}: must be latest, or left out, with --mode={given.mode}")
    if given.mode != "train" and given.extend:
        raise ConfigError(f"--extend: must be left out with --mode={given.mode}; only training continues a run")
    if given.topology and given.mode != "dry_run":
        raise setting_error("topology", given.topology, f"left out with --mode={given.mode}; it is for dry_run")
    name = config.data.dataset
    dataset = Path(name).stem if name.startswith("file:") else name.replace(":", "-").replace("/", "-")
    workdir = given.workdir or f"runs/{dataset}-{config.model.auxiliary}-seed{config.run.seed}"
    return config, dataclasses.replace(given, workdir=os.path.expanduser(workdir))
