"""The report of an experiment: table, words and figure, made anew from all records there are."""

from collections.abc import Sequence
from pathlib import Path

from aux_rnn.workdir import write_atomically
from reproduction.figures import save_figure
from reproduction.rows import Line
from reproduction.tables import format_csv, format_table
from reproduction.wording import TITLES, describe_costs, describe_missing, describe_results, describe_setting


def write_report(folder: Path, experiment: str, preset: str, lines: Sequence[Line]) -> Path:
    """Writes `<preset>.md`, `.csv`, `.png` and `.svg`; the same records give the same bytes.

    Remarks written by hand in `<preset>.remarks.md` are taken into the report.

    Returns:
      The Markdown file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remarks = folder / f"{preset}.remarks.md"
    text = format_report(experiment, preset, lines, remarks.read_text(errors="replace") if remarks.exists() else "")
    write_atomically(folder / f"{preset}.csv", format_csv(experiment, preset, lines))
    if measured := [line for line in lines if line.records]:
        save_figure(folder / preset, experiment, preset, measured)
    write_atomically(folder / f"{preset}.md", text)
    return folder / f"{preset}.md"


def format_report(experiment: str, preset: str, lines: Sequence[Line], remarks: str) -> str:
    parts = [f"# {TITLES[experiment]}: preset {preset}", *describe_setting(experiment, preset, lines)]
    if remarks.strip():
        parts.append(f"## Remarks\n\n{remarks.strip()}")
    costs = describe_costs(lines) if experiment == "lengths" else []
    if results := [*describe_results(lines), *costs]:
        closing = "Each 95 % interval (Welch) stands by itself: of twenty, one misses the truth by chance."
        parts.append("## What it shows\n\n" + "\n".join(f"- {sentence}" for sentence in results) + f"\n\n{closing}")
    if missing := describe_missing(lines):
        parts.append("## Missing\n\n" + "\n".join(f"- {sentence}" for sentence in missing))
    if measured := [line for line in lines if line.records]:
        parts.append(f"## Figure\n\n![{TITLES[experiment]}]({preset}.svg)")
        parts.append(f"## Table\n\n{format_table(experiment, measured)}")
    return "\n\n".join(parts) + "\n"
