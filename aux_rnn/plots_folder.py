"""`plots/` of a run's folder."""

from pathlib import Path

from aux_rnn.workdir import write_atomically

NAME = "reconstructions-{}.png"


def save_plot(path: Path, name: str, content: bytes) -> Path:
    """Writes a picture of the run in `path`; returns where it lies. Raises OSError."""
    file = path / "plots" / name
    file.parent.mkdir(exist_ok=True)
    write_atomically(file, content)
    return file


def save_reconstructions(path: Path, step: int, content: bytes) -> Path:
    return save_plot(path, NAME.format(step), content)


def find_reconstructions(path: Path) -> dict[int, Path]:
    """The pictures of what the decoders recall, by step, in order."""
    found = {file.stem.rpartition("-")[2]: file for file in (path / "plots").glob(NAME.format("*"))}
    return {int(step): found[step] for step in sorted(filter(str.isdigit, found), key=int)}
