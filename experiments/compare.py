"""Compares runs: overlays their curves, one line and a band for all seeds of the same settings, and prints a table.

  python experiments/compare.py runs/digits-*
  python experiments/compare.py runs/a runs/b --split=train --output=figures/a-and-b

RUN is the folder of a run. The picture is written to OUTPUT.png and OUTPUT.svg.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from command_line import parse_words
from comparison.runs import group_runs, read_run
from comparison.table import format_table
from exits import BAD_INPUT, report

from aux_rnn.settings import ConfigError
from aux_rnn.workdir import WorkdirError, unwritable, write_atomically

FLAGS = flags.FlagValues()  # not absl's own, as there are other settings here
flags.DEFINE_enum(
    "split", "validation", ("train", "validation", "test"), "Whose losses and accuracy are drawn.", flag_values=FLAGS
)
flags.DEFINE_string("output", "comparison", "Where the picture goes, without an ending.", flag_values=FLAGS)
flags.DEFINE_boolean("help", False, "Says what there is.", flag_values=FLAGS)


def compare(folders: Sequence[str], split: str, output: Path) -> str:
    """Draws the picture and returns the table. Raises ConfigError and WorkdirError."""
    if not folders:
        raise ConfigError("RUN: none given; name the folders of one or more runs")
    rows = group_runs([read_run(folder) for folder in folders])
    # Here and not above: drawing takes a second to import, which a mistake need not wait for.
    from comparison.figure import MOST_ROWS, draw_comparison

    from aux_rnn.plot_style import plot_style, render

    if len(rows) > MOST_ROWS:
        raise ConfigError(f"RUN: {len(rows)} sets of settings; {MOST_ROWS} at most can be told apart in one picture")
    with plot_style("comparison"):
        figure = draw_comparison(rows, split)
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            for ending in ("png", "svg"):
                write_atomically(output.with_name(f"{output.name}.{ending}"), render(figure, ending))
        except OSError as error:
            raise unwritable(output.parent, error) from error
    return f"{format_table(rows)}\n{output}.png, {output}.svg"


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
