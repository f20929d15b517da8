"""`report.html` and the curves of a run, made from what lies in its folder."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aux_rnn.config import Config, iterate_settings, name_model, to_flat
from aux_rnn.datasets.arrays import is_arrays
from aux_rnn.plot_curves import draw_curves
from aux_rnn.plot_style import plot_style, render
from aux_rnn.plots_folder import find_reconstructions, save_plot
from aux_rnn.progress import format_duration
from aux_rnn.report_page import folded, heading, listing, page, paragraph, png_figure, svg_figure, table
from aux_rnn.run_records import Record, read_records
from aux_rnn.settings import format_flag, format_value
from aux_rnn.workdir import REPORT, read_summary, require_config, unwritable, write_atomically

SPLITS = ("validation", "test")
NO_SCORE = "-"
# Entry of the results, heading, factor, format.
SCORES = (
    ("accuracy", "accuracy (%)", 100.0, "{:.2f}"),
    ("supervised_loss", "supervised loss (nats)", 1.0, "{:.4f}"),
    ("reconstruct_loss", "reconstruction loss", 1.0, "{:.5f}"),
    ("predict_loss", "prediction loss", 1.0, "{:.5f}"),
    ("reconstruct_memory_gain", "memory gain, reconstruction", 1.0, "{:+.5f}"),
    ("predict_memory_gain", "memory gain, prediction", 1.0, "{:+.5f}"),
)


def save_report(path: Path, summary: Mapping[str, Any] | None = None) -> list[Path]:
    """Draws the curves of a run, in `plots/`, and writes its report.

    Args:
      path: the run's folder.
      summary: what `summary.json` says; read from there if it is not given.

    Returns:
      What was written: the report, and the curves as PNG and SVG.

    Raises:
      WorkdirError: there is no run or it has no records, or the report cannot be written.
    """
    config, records = require_config(path), read_records(path)
    summary = summary or read_summary(path) or {"status": "unfinished", "steps": records[-1]["step"]}
    title = name_run(config)
    with plot_style("curves"):
        figure = draw_curves(records, config, title)
        drawing, picture = render(figure, "svg"), render(figure, "png")
    try:
        plots = [save_plot(path, "curves.png", picture), save_plot(path, "curves.svg", drawing)]
        file = path / REPORT
        write_atomically(file, make_report(config, summary, records, drawing, find_reconstructions(path)))
    except OSError as error:
        raise unwritable(path, error) from error
    return [file, *plots]


def name_run(config: Config) -> str:
    """'r-LSTM on digits, seed 0'."""
    return f"{name_model(config)} on {config.data.dataset}, seed {config.run.seed}"


def make_report(
    config: Config,
    summary: Mapping[str, Any],
    records: Sequence[Record],
    curves: bytes,
    pictures: Mapping[int, Path],
) -> str:
    """The page as HTML.

    Args:
      config: of the run.
      summary: as `summary.json` holds it, or a part of that.
      records: of `metrics.jsonl`.
      curves: an SVG.
      pictures: PNG files of what the decoders recall, by step, in order.
    """
    parts = [paragraph(describe_state(summary, records))]
    parts += [heading("Scores"), table(score_rows(summary), ("", *SPLITS), numbers=True)]
    parts += [heading("Curves"), svg_figure(curves, "Losses, accuracy and gradient norm of the run, by epoch.")]
    parts += [heading("What the decoders recall"), *show_pictures(config, pictures)]
    parts += [heading("Machine and time"), table(machine_rows(summary))]
    changed = changed_settings(config)
    parts += [heading("Settings"), listing(command_of(config)), paragraph("Bold: not the default.")]
    rows = [(name, format_value(value)) for name, value in to_flat(config).items()]
    return page(name_run(config), [*parts, table(rows, ("setting", "value"), marked=changed)])


def describe_state(summary: Mapping[str, Any], records: Sequence[Record]) -> str:
    best = summary.get("best")
    state = f"{summary['status']} after {summary['steps']:,} steps, {records[-1]['epoch']:g} epochs"
    if best:
        state += f"; best validation accuracy {100 * best['validation_accuracy']:.2f} % after {best['step']:,} steps"
    return state


def score_rows(summary: Mapping[str, Any]) -> list[list[str]]:
    """A row for each score that any split has; `NO_SCORE` where a split has none."""
    results = summary.get("results", {})
    rows = []
    for name, label, factor, form in SCORES:
        values = [results.get(split, {}).get(name) for split in SPLITS]
        if any(value is not None for value in values):
            rows.append([label, *(NO_SCORE if value is None else form.format(factor * value) for value in values)])
    return rows or [["no scores yet", *[NO_SCORE] * len(SPLITS)]]


def show_pictures(config: Config, pictures: Mapping[int, Path]) -> list[str]:
    """The newest picture; the others folded away."""
    if not config.model.auxiliaries:
        return [paragraph("This run has no decoder (--auxiliary=none).")]
    if not pictures:
        return [paragraph("No picture yet; --mode=reconstruct makes one from the newest checkpoint.")]
    figures = [png_figure(file.read_bytes(), f"After {step:,} steps.") for step, file in pictures.items()]
    return [figures[-1], *([folded("Earlier in training", figures[:-1])] if figures[1:] else [])]


def machine_rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    machine = summary.get("machine", {})
    known = {
        "processor": machine.get("cpu"),
        "cores": machine.get("cores"),
        "memory (GiB)": machine.get("memory_gib"),
        "system": machine.get("os"),
        "devices": summary.get("devices"),
        "JAX": summary.get("jax"),
        "parameters": summary.get("parameters"),
        "parameters' SHA-256": summary.get("params_digest"),
        "peak memory (MiB)": summary.get("peak_memory_mib"),
        "time (h:mm:ss)": format_duration(summary["seconds"]) if "seconds" in summary else None,
    }
    sections = summary.get("seconds_by_section", {})
    known |= {f"thereof {name} (s)": f"{seconds:,.1f}" for name, seconds in sections.items()}
    shown = {name: f"{value:,}" if isinstance(value, int | float) else value for name, value in known.items()}
    return [(name, value) for name, value in shown.items() if value is not None] or [("not recorded", "")]


def changed_settings(config: Config) -> list[str]:
    defaults = {field.name: field.default for _, field in iterate_settings()}
    return [name for name, value in to_flat(config).items() if value != defaults[name]]


def command_of(config: Config) -> str:
    """The command that starts such a run, or the call if it is one on arrays."""
    flat, names = to_flat(config), changed_settings(config)
    if is_arrays(config.data.dataset):
        settings = [f"{name}={flat[name]!r}" for name in names if name != "dataset"]
        return ",\n    ".join(["aux_rnn.fit(\n    inputs, labels", *settings]) + "\n)"
    words = [format_flag(name, flat[name]) for name in names]
    return " \\\n  ".join(["python experiments/main.py", *map(shlex.quote, words)])
