"""The table of a report, as Markdown and as CSV."""

import csv
import io
from collections.abc import Sequence

from reproduction.rows import Line, distinct
from reproduction.statistics import Estimate

NOTHING = "-"


def format_estimate(estimate: Estimate | None, digits: int = 1) -> str:
    """'79.7 ± 2.4'; the mean alone for one seed."""
    if estimate is None:
        return NOTHING
    spread = "" if estimate.half is None else f" ± {estimate.half:.{digits}f}"
    return f"{estimate.mean:.{digits}f}{spread}"


def gain_names(lines: Sequence[Line]) -> list[str]:
    return list(dict.fromkeys(name for line in lines for name in line.gains()))


def format_table(experiment: str, lines: Sequence[Line]) -> str:
    """The Markdown table: accuracies in percent with 95 % intervals over seeds, times and memory as means."""
    names = gain_names(lines)
    has_paper = any(line.paper is not None for line in lines)
    header = ["data set", "model", "test accuracy, %", "seeds"]
    header += ["paper, %", "difference"] * has_paper
    header += [name.replace("_", " ") for name in names]
    header += ["parameters", "seconds a run", "seconds a step", "peak memory, MiB"]
    if experiment == "lengths":
        header.insert(1, "length")
    if experiment == "ablations":
        header.insert(2, "validation accuracy, %")
    rows = [format_row(experiment, line, names, has_paper) for line in lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, ["---"] * len(header), *rows])


def format_row(experiment: str, line: Line, names: Sequence[str], has_paper: bool) -> list[str]:
    estimate, gains = line.estimate(), line.gains()
    row = [line.data, line.name, format_estimate(estimate), str(len(line.records))]
    if has_paper:
        row += [f"{line.paper:.1f}" if line.paper is not None else NOTHING]
        row += [f"{estimate.mean - line.paper:+.1f}" if estimate and line.paper is not None else NOTHING]
    row += [format_estimate(gains[name], 3) if name in gains else NOTHING for name in names]
    parameters = line.values("parameters")
    row += [f"{parameters[0]:,}" if parameters else NOTHING]
    for name, pattern in (("seconds", "{:,.0f}"), ("seconds_per_step", "{:.3g}"), ("peak_memory_mib", "{:,.0f}")):
        mean = line.estimate(name)
        row.append(pattern.format(mean.mean) if mean else NOTHING)
    if experiment == "lengths":
        row.insert(1, f"{line.length:,}")
    if experiment == "ablations":
        row.insert(2, format_estimate(line.estimate("validation_accuracy", 100)))
    return row


def format_csv(experiment: str, preset: str, lines: Sequence[Line]) -> str:
    """One row a line of the report; empty where nothing is known. Accuracies in percent, intervals as half widths."""
    names = gain_names(lines)
    means = ("validation_accuracy", "seconds", "seconds_per_step", "peak_memory_mib")
    header = ["experiment", "preset", "data_set", "model", "truncation", "length", "seeds"]
    header += ["test_accuracy", "test_accuracy_interval", "paper", "difference"]
    header += [f"{name}{ending}" for name in names for ending in ("", "_interval")]
    header += [*means, "parameters", "machine", "commit", "first", "last"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for line in lines:
        estimate, gains = line.estimate(), line.gains()
        difference = estimate.mean - line.paper if estimate and line.paper is not None else None
        row: list[object] = [experiment, preset, line.data, line.model, line.truncation, line.length]
        row += [" ".join(map(str, line.seeds)), *(estimate or (None, None)), line.paper, difference]
        row += [value for name in names for value in gains.get(name, (None, None))]
        row += [
            estimate.mean if (estimate := line.estimate(name, 100 if name == "validation_accuracy" else 1)) else None
            for name in means
        ]
        row += [next(iter(line.values("parameters")), None)]
        row += [
            "; ".join(format_machine(m) for m in distinct([line], "machine")),
            "; ".join(distinct([line], "commit")),
        ]
        dates = sorted(distinct([line], "date"))
        writer.writerow(
            [round_number(value) for value in [*row, dates[0] if dates else "", dates[-1] if dates else ""]]
        )
    return text.getvalue()


def round_number(value: object) -> object:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def format_machine(machine: dict) -> str:
    cores, memory = machine.get("cores"), machine.get("memory_gib")
    devices, system = machine.get("devices"), machine.get("os")
    return f"{machine.get('cpu')}, {cores} core{'s' * (cores != 1)} a run, {memory} GiB, {system}, JAX on {devices}"
