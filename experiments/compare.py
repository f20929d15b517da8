"""Compares runs: draws their curves, one line and a band for all seeds of the same settings, and prints a table.

  python experiments/compare.py runs/digits-*
  python experiments/compare.py runs/a runs/b --split=train --output=figures/a-and-b

RUN is the folder of a run. The figure is written to OUTPUT.png and OUTPUT.svg.
"""

import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from absl import flags
from command_line import parse_words
from comparison.figure import MAX_ROWS, SPLITS, draw_comparison
from comparison.runs import Row, group_runs, read_run
from drawing import save_figure
from exits import BAD_INPUT, report

from aux_rnn.config.fields import ConfigError
from aux_rnn.plots.style import plot_style
from aux_rnn.storage.workdir import WorkdirError, unwritable
from aux_rnn.system.timing import format_duration

FLAGS = flags.FlagValues()  # not absl's own, as there are other settings here
flags.DEFINE_enum("split", "validation", list(SPLITS), "Whose losses and accuracy are drawn.", flag_values=FLAGS)
flags.DEFINE_string("output", "comparison", "File of the figure, without an ending.", flag_values=FLAGS)
flags.DEFINE_boolean("help", False, "Show this help.", flag_values=FLAGS)


def compare(folders: Sequence[str], split: str, output: Path) -> str:
    """Draws the figure and returns the table. Raises ConfigError and WorkdirError."""
    if not folders:
        raise ConfigError("RUN: none given; name the folders of one or more runs")
    rows = group_runs([read_run(folder) for folder in folders])
    if len(rows) > MAX_ROWS:
        raise ConfigError(f"RUN: {len(rows)} sets of settings; at most {MAX_ROWS} can be told apart in one figure")
    with plot_style("comparison"):
        figure = draw_comparison(rows, split)
        try:
            save_figure(output, figure)
        except OSError as error:
            raise unwritable(output.parent, error) from error
    return f"{format_rows(rows)}\n{output}.png, {output}.svg"


def format_rows(rows: Sequence[Row]) -> str:
    """Returns a table of means with their 95 % intervals, one line per row."""
    times = [row.score("seconds").mean for row in rows]
    table = pd.DataFrame(
        {
            "seeds": [len(row.runs) for row in rows],
            "test accuracy, %": [row.score("test_accuracy", 100.0).format() for row in rows],
            "validation accuracy, %": [row.score("validation_accuracy", 100.0).format() for row in rows],
            "time per run": ["-" if math.isnan(time) else format_duration(time) for time in times],
        },
        index=[row.name for row in rows],
    )
    note = "\n±: 95 % interval of the mean over seeds" * any(len(row.runs) > 1 for row in rows)
    return table.to_string() + note


def main(argv: Sequence[str]) -> int:
    try:
        folders = parse_words(argv, FLAGS)
        if FLAGS.help:
            print(f"{__doc__}\n{FLAGS.main_module_help()}")
            return 0
        print(compare(folders, FLAGS.split, Path(os.path.expanduser(FLAGS.output))))
    except (ConfigError, WorkdirError) as error:
        return report(error, BAD_INPUT)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
