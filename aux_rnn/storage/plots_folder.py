"""The folder `plots/` of a run."""

from pathlib import Path

from aux_rnn.storage.workdir import write_atomically

NAME = "reconstructions-{}.png"


def save_plot(path: Path, name: str, content: bytes) -> Path:
    """Writes a figure of the run in `path`, and returns the path of its file. Raises OSError."""
    file = path / "plots" / name
    file.parent.mkdir(exist_ok=True)
    write_atomically(file, content)
    return file


def save_reconstructions(path: Path, step: int, content: bytes) -> Path:
    """Writes the figure of the decoder outputs after a step. Raises OSError."""
    return save_plot(path, NAME.format(step), content)


def find_reconstructions(path: Path) -> dict[int, Path]:
    """Returns the figures of decoder outputs by step, in the order of the steps."""
    found = {file.stem.rpartition("-")[2]: file for file in (path / "plots").glob(NAME.format("*"))}
    return {int(step): found[step] for step in sorted(filter(str.isdigit, found), key=int)}
