"""`report.html` and the curves of a run, made from the files in its folder."""

import base64
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from aux_rnn.config.fields import format_flag, format_value
from aux_rnn.config.serialization import iterate_settings, name_model, to_flat
from aux_rnn.config.settings import Config
from aux_rnn.datasets.arrays import is_arrays
from aux_rnn.model.metric_names import AUXILIARY_UNIT, METRICS
from aux_rnn.plots.curves import draw_curves
from aux_rnn.plots.style import plot_style, render
from aux_rnn.storage.metrics_file import Record, read_records
from aux_rnn.storage.workdir import (
    REPORT,
    find_reconstructions,
    read_summary,
    require_config,
    save_plot,
    unwritable_error,
    write_atomically,
)
from aux_rnn.system.timing import format_duration


def save_report(path: Path, summary: Mapping[str, Any] | None = None) -> list[Path]:
    """Draws the curves of a run into `plots/` and writes its report; returns the files.

    The summary is that of `summary.json`, which is read if it is not given. Raises WorkdirError if there is no run or
    it has no records, or the report cannot be written.
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
        raise unwritable_error(path, error) from error
    return [path / REPORT, *plots]


def name_run(config: Config) -> str:
    """Returns a title such as 'r-LSTM on digits, seed 0'."""
    return f"{name_model(config)} on {config.data.dataset}, seed {config.run.seed}"


def make_report(
    config: Config, summary: Mapping[str, Any], records: Sequence[Record], curves: bytes, figures: Mapping[int, Path]
) -> str:
    """Returns the page as HTML, which needs no other file.

    The curves are an SVG, and the figures PNG files of reconstructions by step, in ascending order.
    """
    flat, defaults = to_flat(config), {field.name: field.default for _, field in iterate_settings()}
    changed = [name for name, value in flat.items() if value != defaults[name]]
    drawing = curves.decode()[curves.index(b"<svg") :].replace("<svg", '<svg role="img" aria-label="Curves."', 1)
    environment = Environment(loader=PackageLoader("aux_rnn.plots", ""), autoescape=True)
    return environment.get_template(f"{REPORT}.jinja").render(
        title=name_run(config),
        summary=summary,
        metrics=METRICS.values(),
        auxiliary_unit=AUXILIARY_UNIT,
        epoch=records[-1]["epoch"],
        curves=Markup(drawing),
        has_decoder=bool(config.model.auxiliaries),
        reconstructions=[(step, base64.b64encode(file.read_bytes()).decode()) for step, file in figures.items()],
        format_duration=format_duration,
        command=command_of(flat, changed),
        settings={name: format_value(value) for name, value in flat.items()},
        changed=changed,
    )


def command_of(flat: Mapping[str, Any], changed: Sequence[str]) -> str:
    """Returns the command that starts such a run, or the call for one on arrays."""
    if is_arrays(flat["dataset"]):
        settings = [f"{name}={flat[name]!r}" for name in changed if name != "dataset"]
        return ",\n    ".join(["aux_rnn.fit(\n    inputs, labels", *settings]) + "\n)"
    words = [shlex.quote(format_flag(name, flat[name])) for name in changed]
    return " \\\n  ".join(["python experiments/main.py", *words])
