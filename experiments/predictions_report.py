"""What `--mode=predict` prints."""

from collections.abc import Sequence

import numpy as np

from aux_rnn.predictions import Predictions

NAME_WIDTH = 28


def format_predictions(found: Predictions, files: Sequence[str], folder: str) -> str:
    """A line for each class, and where the rest lies; at most 80 columns but for a folder with a longer name."""
    precision, recall, counts = found.scores()
    confusion = found.confusion()
    width = min(NAME_WIDTH, max(len("class"), *map(len, found.classes)))
    lines = [f"{'class':<{width}}  precision   recall  examples  most often taken for"]
    for k, name in enumerate(found.classes):
        scores = f"{shorten(name, width):<{width}}  {percent(precision[k]):>9}  {percent(recall[k]):>7}"
        mistake = describe_mistake(confusion[k], k, found.classes, 80 - width - 32)
        lines.append(f"{scores}  {counts[k]:>8,}  {mistake}".rstrip())
    right = int(np.trace(confusion))
    lines += ["", f"{'accuracy':<12}{100 * right / len(found.labels):.1f} % ({right:,} of {len(found.labels):,})"]
    lines += [f"{'split':<12}{found.split}, after {found.step:,} steps"]
    lines += [f"{'files':<12}{', '.join(files)}", f"{'folder':<12}{folder}"]
    return "\n".join(lines)


def percent(share: float) -> str:
    """'93.1 %', and '-' where there is nothing to divide by."""
    return "-" if np.isnan(share) else f"{100 * share:.1f} %"


def shorten(name: str, width: int) -> str:
    return name if len(name) <= width else name[: width - 1] + "…"


def describe_mistake(row: np.ndarray, own: int, names: Sequence[str], width: int) -> str:
    """The class that examples of this one were most often taken for, and how often: '7 (12)'."""
    mistakes = np.where(np.arange(len(row)) == own, 0, row)
    other = int(mistakes.argmax())
    how_often = f" ({mistakes[other]:,})"
    return shorten(names[other], width - len(how_often)) + how_often if mistakes[other] else ""
