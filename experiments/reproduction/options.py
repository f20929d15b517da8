"""The command line of `reproduce.py`."""

import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path

import command_line
from absl import flags

from aux_rnn.settings import ConfigError, is_plain_text, plain_text, reject
from reproduction.presets import EXPERIMENTS, PRESETS

FLAGS = flags.FlagValues()  # not absl's own: main.py's flags have some of these names
flags.DEFINE_enum("preset", "paper", list(PRESETS), "Sizes and data (reproduction/presets.py).", flag_values=FLAGS)
flags.DEFINE_integer("seeds", 5, "How many seeds: 0 to this less one.", 1, 1_000, flag_values=FLAGS)
flags.DEFINE_list("datasets", [], "Only these data sets.", flag_values=FLAGS)
flags.DEFINE_list("models", [], "Only these models.", flag_values=FLAGS)
flags.DEFINE_string("shard", "1/1", "This machine's share, as i/n with i from 1 to n.", flag_values=FLAGS)
flags.DEFINE_integer(
    "jobs",
    0,
    "Runs at once. 0: one a core with small and digits on CPUs, otherwise one.",
    lower_bound=0,
    upper_bound=1_000,
    flag_values=FLAGS,
)
flags.DEFINE_string("data_dir", "", "As in main.py.", flag_values=FLAGS)
flags.DEFINE_string("manual_dir", "", "As in main.py.", flag_values=FLAGS)
flags.DEFINE_string("results", "results", "Folder of records and reports.", flag_values=FLAGS)
flags.DEFINE_string("runs", "runs/reproduce", "Folder of the runs' folders.", flag_values=FLAGS)
flags.DEFINE_boolean("dry_run", False, "Only print the plan.", flag_values=FLAGS)
flags.DEFINE_boolean("report", False, "Only make the report of what is there.", flag_values=FLAGS)
flags.DEFINE_boolean("help", False, "Show this help.", flag_values=FLAGS)


@dataclasses.dataclass(frozen=True)
class Options:
    """What the command line asks for.

    Attributes:
      experiment: its name.
      shard: (i, n), i from 1 to n.
      jobs: runs at once; 0 to choose.
      locations: flags of main.py that say where data lies.
      others: see the flags of the same names.
    """

    experiment: str
    preset: str
    seeds: int
    datasets: tuple[str, ...]
    models: tuple[str, ...]
    shard: tuple[int, int]
    jobs: int
    locations: tuple[str, ...]
    results: Path
    runs: Path
    dry_run: bool
    report: bool

    @property
    def folder(self) -> Path:
        return self.results / self.experiment

    @property
    def record_file(self) -> Path:
        index, count = self.shard
        shard = f".shard-{index}-of-{count}" if count > 1 else ""
        return self.folder / f"{self.preset}{shard}.jsonl"


def parse_options(argv: Sequence[str]) -> Options | None:
    """The options, or None if help was asked for. Raises ConfigError, one line, if anything is wrong."""
    FLAGS.unparse_flags()
    for name in FLAGS:
        FLAGS[name].unparse()
    words = command_line.parse_flags(argv, FLAGS)
    if FLAGS.help:
        return None
    known = ", ".join(EXPERIMENTS)
    if len(words) != 1:
        extra = f"{words[1]!r}: stray word; " if words else ""
        raise ConfigError(f"{extra}give one NAME of {known}, and flags as --name=value")
    if words[0] not in EXPERIMENTS:
        raise ConfigError(f"{words[0]!r}: must be one of {known}")
    if FLAGS.dry_run and FLAGS.report:
        raise ConfigError("--dry_run --report: give one of the two")
    for name in ("results", "runs", "data_dir", "manual_dir"):
        if not is_plain_text(str(FLAGS[name].value)):
            raise reject(name, FLAGS[name].value, plain_text().phrase)
    for name in ("results", "runs"):
        folder = str(FLAGS[name].value)
        if not folder or "://" in folder:
            raise ConfigError(f"--{name}={folder}: must be a folder of this machine")
    return Options(
        experiment=words[0],
        preset=FLAGS.preset,
        seeds=FLAGS.seeds,
        datasets=tuple(FLAGS.datasets),
        models=tuple(FLAGS.models),
        shard=parse_shard(FLAGS.shard),
        jobs=FLAGS.jobs,
        locations=tuple(f"--{name}={FLAGS[name].value}" for name in ("data_dir", "manual_dir") if FLAGS[name].value),
        results=Path(os.path.expanduser(FLAGS.results)),
        runs=Path(os.path.expanduser(FLAGS.runs)),
        dry_run=FLAGS.dry_run,
        report=FLAGS.report,
    )


def parse_shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    index, count = map(int, match.groups()) if match else (0, 0)
    if not 1 <= index <= count:
        raise ConfigError(f"--shard={text}: must be i/n with i from 1 to n, such as 1/4")
    return index, count


def describe_flags() -> str:
    """One line a flag, for --help."""
    return "\n".join(f"  --{name:<12}{FLAGS[name].help} ({FLAGS[name].default})" for name in FLAGS if name != "help")
