"""Flag files that are found wherever the program is started.

absl itself looks for a flag file in the working directory only. Here it is looked for in the folder of the file that
includes it, in the working directory, and in `experiments/flags`; every mistake is one line.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from aux_rnn.config.fields import ConfigError, is_plain_text, plain_text, setting_error

FLAG_FILES = Path(__file__).parents[1] / "flags"


def expand_flag_files(arguments: Sequence[str], folders: Sequence[Path], opened: tuple[Path, ...] = ()) -> list[str]:
    """Returns the arguments with every `--flagfile=NAME` replaced by the flags in the file.

    A file is looked for in the folder of the file that includes it, then in the given folders; `opened` are the files
    that lead to it. Raises ConfigError if a file is missing, unreadable or no flag file, or includes itself.
    """
    words, expanded = iter(arguments), []
    for word in words:
        name, is_assigned, value = word.lstrip("-").partition("=")
        if not word.startswith("-") or name != "flagfile":
            expanded.append(word)
            continue
        value = value if is_assigned else next(words, "")
        file = find_flag_file(value, folders)
        if file in opened:
            raise ConfigError(f"--flagfile={value}: includes itself ({' -> '.join(p.name for p in (*opened, file))})")
        expanded += expand_flag_files(read_flag_file(file), [file.parent, *folders], (*opened, file))
    return expanded


def find_flag_file(name: str, folders: Sequence[Path]) -> Path:
    if not is_plain_text(name):
        raise setting_error("flagfile", name, plain_text().phrase)
    # Not Path.expanduser and Path.is_file, which raise for an unknown user and for a name that is too long.
    candidates = list(dict.fromkeys(Path(os.path.abspath(folder / os.path.expanduser(name))) for folder in folders))
    for candidate in candidates:
        if name and os.path.isfile(candidate):
            return candidate
    known = ", ".join(sorted(p.name for p in FLAG_FILES.glob("*.flags")))
    looked = ", ".join(str(c.parent) for c in candidates)
    raise ConfigError(f"--flagfile={name}: no such file in {looked}; there are {known}")


def read_flag_file(file: Path) -> list[str]:
    """Returns the flags in a file, one `--name=value` per line, without blank lines and comments after # or //."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--flagfile={file}: cannot be read ({error})") from error
    lines = [line for line in map(str.strip, text.split("\n")) if line and not line.startswith(("#", "//"))]
    for line in lines:
        if not line.startswith("-"):
            raise ConfigError(f"--flagfile={file}: the line {line!r} is no flag; write --name=value, comments after #")
    return lines
