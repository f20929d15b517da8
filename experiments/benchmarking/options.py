"""The command line of `benchmark.py`: a command, its own flags, and every setting of main.py."""

import dataclasses
import importlib.util
import os
import re
from collections.abc import Sequence
from pathlib import Path

import command_line
from absl import flags

from aux_rnn.config import Config
from aux_rnn.settings import LARGEST, ConfigError, reject
from benchmarking.comparable import check_peer, check_scan

LARGEST_PRODUCT = 1 << 15  # 4 GiB a matrix

FLAGS = flags.FlagValues()  # not absl's own, in which main.py defines the same settings
command_line.define_settings(FLAGS)
flags.DEFINE_integer("length", 0, "Steps of a sequence; 0: as the data set has them.", 0, LARGEST, flag_values=FLAGS)
flags.DEFINE_string("lengths", "1024,4096,16384", "Steps of a sequence, one measurement each.", flag_values=FLAGS)
flags.DEFINE_enum(
    "phase", "train", ["train", "pretrain"], "The joint training, or the auxiliary loss alone.", flag_values=FLAGS
)
flags.DEFINE_integer("steps", 5, "Training steps to measure.", 1, flag_values=FLAGS)
flags.DEFINE_integer("pairs", 5, "How often each of the two takes a step, in turns.", 1, flag_values=FLAGS)
flags.DEFINE_integer(
    "product_size",
    2048,
    "Side of the square matrices whose product is timed for comparison.",
    1,
    LARGEST_PRODUCT,
    flag_values=FLAGS,
)
flags.DEFINE_boolean(
    "peer_huge_pages",
    True,
    "Let PyTorch take its tensors' memory in huge pages, by its own switch THP_MEM_ALLOC_ENABLE, as our programs do; "
    "without it PyTorch runs as installed.",
    flag_values=FLAGS,
)
flags.DEFINE_integer("cpu_devices", 0, "As in main.py.", 0, command_line.MOST_DEVICES, flag_values=FLAGS)
flags.DEFINE_string("output", "", "File to append the records to, one JSON object a line.", flag_values=FLAGS)
flags.DEFINE_boolean("help", False, "Show this help.", flag_values=FLAGS)

# Each command, and which of these flags it takes beside the settings and --output.
COMMANDS = {
    "step": ("length", "phase", "steps", "product_size"),
    "peer": ("length", "pairs", "peer_huge_pages"),
    "lengths": ("lengths", "phase", "steps", "product_size"),
    "linen": ("length", "phase", "pairs"),
}
OWN = tuple(dict.fromkeys(name for names in COMMANDS.values() for name in names))


@dataclasses.dataclass(frozen=True)
class Options:
    """What the command line asks for.

    Attributes:
      command: a name in `COMMANDS`.
      config: the settings.
      length: steps of a sequence, 0 for the data set's.
      lengths: those of the command `lengths`, ascending.
      output: where records are appended, if anywhere.
      others: see the flags of the same names.
    """

    command: str
    config: Config
    length: int
    lengths: tuple[int, ...]
    phase: str
    steps: int
    pairs: int
    product_size: int
    peer_huge_pages: bool
    cpu_devices: int
    output: Path | None


def parse_options(argv: Sequence[str]) -> Options | None:
    """The options, or None if help was asked for. Raises ConfigError, one line, if anything is wrong."""
    FLAGS.unparse_flags()
    for name in FLAGS:
        FLAGS[name].unparse()
    words = command_line.parse_words(argv, FLAGS)
    if FLAGS.help:
        return None
    command = find_command(words)
    options = Options(
        command=command,
        config=command_line.config_from_flags(FLAGS),
        length=FLAGS.length,
        lengths=parse_lengths(FLAGS.lengths),
        phase=FLAGS.phase,
        steps=FLAGS.steps,
        pairs=FLAGS.pairs,
        product_size=FLAGS.product_size,
        peer_huge_pages=FLAGS.peer_huge_pages,
        cpu_devices=FLAGS.cpu_devices,
        output=find_output(FLAGS.output) if FLAGS.output else None,
    )
    check(options)
    return options


def find_command(words: Sequence[str]) -> str:
    """The command, if the flags given are its own."""
    known = ", ".join(COMMANDS)
    if len(words) != 1:
        extra = f"{words[1]!r}: stray word; " if words else ""
        raise ConfigError(f"{extra}give one command of {known}, and flags as --name=value")
    command = words[0]
    if command not in COMMANDS:
        raise ConfigError(f"{command!r}: must be one of {known}")
    for name in OWN:
        if FLAGS[name].present and name not in COMMANDS[command]:
            takers = ", ".join(other for other, names in COMMANDS.items() if name in names)
            raise ConfigError(f"--{name}: not with {command}, only with {takers}")
    return command


def parse_lengths(text: str) -> tuple[int, ...]:
    """Ascending, each once."""
    if re.fullmatch(r"\d{1,9}(,\d{1,9})*", text) and (lengths := sorted(set(map(int, text.split(","))))) and lengths[0]:
        return tuple(lengths)
    raise ConfigError(f"--lengths={text}: must be positive integers separated by commas")


def find_output(text: str) -> Path:
    path = Path(os.path.expanduser(text))
    if path.is_dir() or not path.parent.is_dir():
        raise ConfigError(f"--output={text}: must be a file in a folder that exists")
    return path


def check(options: Options) -> None:
    """Raises ConfigError for settings that the command cannot measure, as far as they show without the data set."""
    if options.phase == "pretrain" and not options.config.model.auxiliaries:
        raise reject("phase", options.phase, "train with --auxiliary=none, which has no pretraining")
    if options.command == "linen":
        check_scan(options.config)
    if options.command == "peer":
        check_peer(options.config)
        if importlib.util.find_spec("torch") is None:
            raise ConfigError("peer: PyTorch is not installed; pip install '.[peer]' does so")


def describe_flags() -> str:
    """One line a flag and who takes it, for --help."""
    lines = []
    for name in (*OWN, "cpu_devices", "output"):
        takers = ", ".join(command for command, names in COMMANDS.items() if name in names) or "all"
        lines.append(f"  --{name:<16}{FLAGS[name].help} ({takers}; {FLAGS[name].default!r})")
    return "\n".join([*lines, "and every setting of main.py (python experiments/main.py --helpshort)"])
