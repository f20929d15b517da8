"""Flag files that are found wherever the program is started.

absl itself looks for a flag file in the working directory only. Here one is looked for in the working directory, beside
the file that includes it, and in `experiments/flags`; every mistake is one line.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from aux_rnn.settings import ConfigError, is_plain_text, plain_text, reject

FLAG_FILES = Path(__file__).parent / "flags"
MOST_FILES, LONGEST_FILE = 100, 1 << 16  # flag files of a command line, and characters of each


def expand_flag_files(arguments: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """The arguments with every `--flagfile=NAME` replaced by the flags in the file, in their place.

    Args:
      arguments: the command line.
      folders: where to look, in this order; first of all beside the file that includes another.

    Raises:
      ConfigError: a file is not there, cannot be read, is no flag file or includes itself, or there are too many.
    """
    expanded: list[str] = []
    count = 0
    # The command line and the flag files that are open: what is left of each, where it looks, and how it was reached.
    levels: list[tuple[Iterator[str], Sequence[Path], tuple[Path, ...]]] = [(iter(arguments), folders, ())]
    while levels:
        words, folders, opened = levels[-1]
        value = find_inclusion(words, expanded)
        if value is None:
            levels.pop()
            continue
        file = find_flag_file(value, folders)
        if file in opened:
            raise ConfigError(f"--flagfile={value}: includes itself ({' -> '.join(p.name for p in (*opened, file))})")
        count += 1
        if count > MOST_FILES:
            raise ConfigError(f"--flagfile={value}: more than {MOST_FILES} flag files are included; write fewer")
        levels.append((iter(read_flag_file(file)), [file.parent, *folders], (*opened, file)))
    return expanded


def find_inclusion(words: Iterator[str], others: list[str]) -> str | None:
    """The name of the next flag file among the words, None at their end; the words before it go to `others`."""
    for word in words:
        name, is_assigned, value = word.lstrip("-").partition("=")
        if word.startswith("-") and name == "flagfile":
            return value if is_assigned else next(words, "")
        others.append(word)
    return None


def find_flag_file(name: str, folders: Sequence[Path]) -> Path:
    if not is_plain_text(name):
        raise reject("flagfile", name, plain_text().phrase)
    # Not Path.expanduser and Path.is_file, which raise for an unknown user and for a name that is too long.
    candidates = list(dict.fromkeys(Path(os.path.abspath(folder / os.path.expanduser(name))) for folder in folders))
    for candidate in candidates:
        if name and os.path.isfile(candidate):
            return candidate
    known = ", ".join(sorted(p.name for p in FLAG_FILES.glob("*.flags")))
    looked = ", ".join(str(c.parent) for c in candidates)
    raise ConfigError(f"--flagfile={name}: no such file in {looked}; there are {known}")


def read_flag_file(file: Path) -> list[str]:
    """The flags in a file: one `--name=value` a line; blank lines and lines that start with # or // say nothing."""
    try:
        with file.open(encoding="utf-8-sig") as stream:
            text = stream.read(LONGEST_FILE + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--flagfile={file}: cannot be read ({error})") from error
    if len(text) > LONGEST_FILE:
        raise ConfigError(f"--flagfile={file}: longer than {LONGEST_FILE:,} characters, so no flag file")
    lines = [line.strip() for line in text.split("\n")]
    lines = [line for line in lines if line and not line.startswith(("#", "//"))]
    for line in lines:
        if not line.startswith("-"):
            raise ConfigError(f"--flagfile={file}: the line {line!r} is no flag; write --name=value, comments after #")
    return lines
