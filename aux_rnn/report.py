"""`report.html` and the curves of a run, made from the files in its folder."""

import base64
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from aux_rnn.config import Config, iterate_settings, name_model, to_flat
from aux_rnn.datasets.arrays import is_arrays
from aux_rnn.plot_curves import draw_curves
from aux_rnn.plot_style import plot_style, render
from aux_rnn.plots_folder import find_reconstructions, save_plot
from aux_rnn.progress import format_duration
from aux_rnn.run_records import Record, read_records
from aux_rnn.settings import format_flag, format_value
from aux_rnn.workdir import REPORT, read_summary, require_config, unwritable, write_atomically

SPLITS = ("validation", "test")
# Key in the results: label, factor, format.
SCORES = {
    "accuracy": ("accuracy (%)", 100.0, "{:.2f}"),
    "supervised_loss": ("supervised loss (nats)", 1.0, "{:.4f}"),
    "reconstruct_loss": ("reconstruction loss", 1.0, "{:.5f}"),
    "predict_loss": ("prediction loss", 1.0, "{:.5f}"),
    "reconstruct_memory_gain": ("memory gain, reconstruction", 1.0, "{:+.5f}"),
    "predict_memory_gain": ("memory gain, prediction", 1.0, "{:+.5f}"),
}
# Section of a run's clock: label.
SECTIONS = {
    "compile": "compilation time (s)",
    "pretrain": "pretraining time (s)",
    "train": "training time (s)",
    "evaluate": "evaluation time (s)",
    "draw": "drawing time (s)",
    "checkpoint": "checkpoint time (s)",
}


def save_report(path: Path, summary: Mapping[str, Any] | None = None) -> list[Path]:
    """Draws the curves of a run into `plots/` and writes its report.

    Args:
      path: the run's folder.
      summary: content of `summary.json`; read from there if it is not given.

    Returns:
      The files: the report, and the curves as PNG and SVG.

    Raises:
      WorkdirError: there is no run or it has no records, or the report cannot be written.
    """
    config, records = require_config(path), read_records(path)
    summary = summary or read_summary(path) or {"status": "unfinished", "steps": records[-1]["step"]}
    with plot_style("curves"):
        figure = draw_curves(records, config, name_run(config))
        svg, png = render(figure, "svg"), render(figure, "png")
    try:
        plots = [save_plot(path, "curves.png", png), save_plot(path, "curves.svg", svg)]
        write_atomically(path / REPORT, make_report(config, summary, records, svg, find_reconstructions(path)))
    except OSError as error:
        raise unwritable(path, error) from error
    return [path / REPORT, *plots]


def name_run(config: Config) -> str:
    """Returns a title such as 'r-LSTM on digits, seed 0'."""
    return f"{name_model(config)} on {config.data.dataset}, seed {config.run.seed}"


def make_report(
    config: Config, summary: Mapping[str, Any], records: Sequence[Record], curves: bytes, figures: Mapping[int, Path]
) -> str:
    """Returns the page as HTML, which needs no other file.

    Args:
      config: settings of the run.
      summary: content of `summary.json`, or a part of it.
      records: lines of `metrics.jsonl`.
      curves: an SVG.
      figures: PNG files of reconstructions by step, in ascending order.
    """
    flat, results = to_flat(config), summary.get("results", {})
    defaults = {field.name: field.default for _, field in iterate_settings()}
    changed = [name for name, value in flat.items() if value != defaults[name]]
    drawing = curves.decode()[curves.index(b"<svg") :].replace("<svg", '<svg role="img" aria-label="Curves."', 1)
    template = Environment(loader=PackageLoader("aux_rnn", ""), autoescape=True).get_template(f"{REPORT}.jinja")
    return template.render(
        title=name_run(config),
        state=describe_state(summary, records),
        splits=SPLITS,
        scores=[(label, row) for label, row in score_rows(results) if set(row) != {"-"}],
        curves=Markup(drawing),
        has_decoder=bool(config.model.auxiliaries),
        reconstructions=[(f"{n:,}", base64.b64encode(file.read_bytes()).decode()) for n, file in figures.items()],
        machine=describe_machine(summary),
        command=command_of(flat, changed),
        settings={name: format_value(value) for name, value in flat.items()},
        changed=changed,
    )


def describe_state(summary: Mapping[str, Any], records: Sequence[Record]) -> str:
    state = f"{summary['status']} after {summary['steps']:,} steps, {records[-1]['epoch']:g} epochs"
    if best := summary.get("best"):
        state += f"; best validation accuracy {100 * best['validation_accuracy']:.2f} % after {best['step']:,} steps"
    return state


def score_rows(results: Mapping[str, Mapping[str, float]]) -> list[tuple[str, list[str]]]:
    """Returns a label and the text for each split per score; '-' if a split has no such score."""
    rows = []
    for name, (label, factor, form) in SCORES.items():
        values = [results.get(split, {}).get(name) for split in SPLITS]
        rows.append((label, ["-" if value is None else form.format(factor * value) for value in values]))
    return rows


def describe_machine(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Returns texts by label; None if something was not recorded."""
    machine, sections = summary.get("machine", {}), summary.get("seconds_by_section", {})
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
    known |= {label: round(sections[name], 1) for name, label in SECTIONS.items() if name in sections}
    return {label: f"{value:,}" if isinstance(value, int | float) else value for label, value in known.items()}


def command_of(flat: Mapping[str, Any], changed: Sequence[str]) -> str:
    """Returns the command that starts such a run, or the call for one on arrays."""
    if is_arrays(flat["dataset"]):
        settings = [f"{name}={flat[name]!r}" for name in changed if name != "dataset"]
        return ",\n    ".join(["aux_rnn.fit(\n    inputs, labels", *settings]) + "\n)"
    words = [shlex.quote(format_flag(name, flat[name])) for name in changed]
    return " \\\n  ".join(["python experiments/main.py", *words])
