"""A table of rows for the terminal."""

from collections.abc import Sequence

from reproduction.statistics import Estimate

from aux_rnn.progress import format_duration
from comparison.runs import Row

HEAD = ("", "seeds", "test accuracy, %", "validation, %", "time a run")


def format_table(rows: Sequence[Row]) -> str:
    """Means with half their 95 % intervals, a line a row."""
    cells = [HEAD]
    for row in rows:
        seconds = row.score("seconds")
        cells.append(
            (
                row.name,
                str(len(row.runs)),
                format_percent(row.score("test_accuracy")),
                format_percent(row.score("validation_accuracy")),
                "-" if seconds is None else format_duration(seconds.mean),
            )
        )
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEAD))]
    lines = [
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]).rstrip()
        for line in cells
    ]
    if any(len(row.runs) > 1 for row in rows):
        lines.append("±: 95 % interval of the mean over the seeds")
    return "\n".join(lines)


def format_percent(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    half = "" if estimate.half is None else f" ± {100 * estimate.half:.1f}"
    return f"{100 * estimate.mean:.1f}{half}"
