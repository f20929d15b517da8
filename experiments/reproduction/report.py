"""The report of an experiment: a Markdown page, a CSV table and a figure, made from all existing records."""

import math
from pathlib import Path

import pandas as pd
from cli.tables import format_markdown
from scipy import stats
from summaries import estimate_means, format_estimate, save_figure

from aux_rnn.plots.style import plot_style
from aux_rnn.storage.workdir import write_atomically
from reproduction.figures import EXPERIMENTS
from reproduction.grid import ROW
from reproduction.models import FULL, MODELS, WITHOUT, add_truncation, find_model, paper_accuracy, style_row
from reproduction.records import COSTS, GAINS

NOTES = """
Accuracies are means over seeds with 95 % confidence intervals (t distribution). A seed determines initialization,
order, anchors, the validation split and which examples are used if not all are. Parameters include the decoders, which
are dropped after training. Seconds per step are those of joint training, without compilation; peak memory is that of
the whole process.
"""
WELCH = """
Differences of mean test accuracies with 95 % confidence intervals (Welch's t-test), not corrected for multiple
comparisons: one interval in twenty misses the true value by chance.
"""
# Heading and format of each column of a page after the names.
COLUMNS = {
    "length": ("length", ","),
    "validation_accuracy": ("validation accuracy, %", ".1f"),
    "test_accuracy": ("test accuracy, %", ".1f"),
    "count": ("seeds", ""),
    "paper": ("paper, %", ".1f"),
    "difference": ("difference", "+.1f"),
    **{name: (name.replace("_", " "), ".3f") for name in GAINS},
    "parameters": ("parameters", ",.0f"),
    "seconds": ("seconds per run", ",.0f"),
    "seconds_per_step": ("seconds per step", ".3g"),
    "peak_memory_mib": ("peak memory, MiB", ",.0f"),
}
OF_ONE_EXPERIMENT = {"length": "lengths", "validation_accuracy": "ablations"}


def save_report(folder: Path, experiment: str, preset: str, grid: pd.DataFrame, records: pd.DataFrame) -> Path:
    """Writes `<preset>.md`, `.csv`, `.png` and `.svg`; the same records give the same bytes. Returns the Markdown file.

    The page contains the text of `<preset>.remarks.md`, which is written by a person. Without records it says so.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page, remarks, (title, draw) = folder / f"{preset}.md", folder / f"{preset}.remarks.md", EXPERIMENTS[experiment]
    parts = [f"# {title}: preset {preset}", "There are no results yet."]
    if len(records):
        rows = describe_rows(experiment, grid).merge(records, on="key", how="left")
        table, measured = summarize(rows), rows.dropna(subset="seed")
        with plot_style(f"{experiment} {preset}"):
            save_figure(folder / preset, draw(measured))
        write_atomically(folder / f"{preset}.csv", format_csv(experiment, preset, table))
        command = f"python experiments/reproduce.py {experiment} --preset={preset} --seeds={1 + max(records['seed'])}"
        parts[1:] = [f"```sh\n{command}\n```"]
        parts += [remarks.read_text(encoding="utf-8")] if remarks.exists() else []
        parts += [f"![{title}]({preset}.svg)", format_page_table(experiment, table), NOTES]
        differences = list_differences(measured)
        parts += ["## Differences", format_markdown(differences), WELCH] if len(differences) else []
        parts += ["## Origin", format_origin(rows)]
    write_atomically(page, "\n\n".join(map(str.strip, parts)) + "\n")
    return page


def describe_rows(experiment: str, grid: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows of a grid with `name`, `line` and `style` in figures, and the accuracy of the paper."""
    rows = grid.loc[grid["seed"] == 0, [*ROW, "length", "key"]]
    names = [find_model(model).name for model in rows["model"]]
    rows["name"] = list(map(add_truncation, names, rows["truncation"]))
    shown = rows["truncation"] if experiment in ("lengths", "compute") else [WITHOUT] * len(rows)
    rows["line"] = list(map(add_truncation, names, shown))
    rows["style"] = list(map(style_row, rows["model"], shown))
    rows["paper"] = [paper_accuracy(experiment, *row) for row in rows[ROW].to_numpy()]
    return rows


def summarize(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns one line per row of the grid: means over seeds, `*_interval` with half the width of the interval."""
    groups = rows.groupby(ROW, sort=False)
    table = groups[["name", "length"]].first()
    table["seeds"] = groups["seed"].agg(lambda seeds: " ".join(f"{seed:.0f}" for seed in seeds.dropna()))
    for name in ("test_accuracy", *GAINS, "validation_accuracy"):
        table[[name, f"{name}_interval"]] = estimate_means(groups[name])
        if name == "test_accuracy":
            table["paper"] = groups["paper"].first()
            table["difference"] = table[name] - table["paper"]
    table[COSTS] = groups[COSTS].mean()
    table["parameters"] = groups["parameters"].first().astype("Int64")
    for name in ("machine", "commit"):
        table[name] = groups[name].agg(lambda texts: "; ".join(texts.dropna().unique()))
    table = table.assign(first=groups["date"].min(), last=groups["date"].max(), count=groups["seed"].count())
    return table.reset_index()


def format_csv(experiment: str, preset: str, table: pd.DataFrame) -> str:
    """Returns a summary as CSV, empty where nothing is known; numbers have six digits."""
    unknown = [name for gain in GAINS if table[gain].isna().all() for name in (gain, f"{gain}_interval")]
    table = table.drop(columns=["name", "validation_accuracy_interval", "count", *unknown])
    table = table.map(lambda value: float(f"{value:.6g}") if isinstance(value, float) else value)
    table.insert(0, "experiment", experiment)
    table.insert(1, "preset", preset)
    return table.rename(columns={"data": "data_set"}).to_csv(index=False)


def format_page_table(experiment: str, table: pd.DataFrame) -> str:
    """Returns the rows with results of a summary as Markdown, without columns that have no value."""
    table = table[table["count"] > 0].dropna(axis=1, how="all")
    columns = {"data set": list(table["data"]), "model": list(table["name"])}
    for name, (heading, form) in COLUMNS.items():
        if name in table and OF_ONE_EXPERIMENT.get(name, experiment) == experiment:
            halves = table.get(f"{name}_interval", [math.nan] * len(table))
            columns[heading] = [format_estimate(*pair, form) for pair in zip(table[name], halves, strict=True)]
    return format_markdown(columns)


def list_differences(measured: pd.DataFrame) -> pd.DataFrame:
    """Returns the differences of the test accuracies from the LSTM's, or from the r-LSTM's for an ablation."""
    found = []
    groups = {tuple(row): group for row, group in measured.groupby(ROW, sort=False)}
    for (data, model, truncation), group in groups.items():
        baseline = "lstm" if model in MODELS else "r-lstm"
        reach = FULL if model == "transformer" else truncation  # the LSTM at its best
        other = groups.get((data, baseline, reach), group)
        if group["key"].iloc[0] == other["key"].iloc[0] or min(len(group), len(other)) < 2:
            continue
        difference = estimate_difference(group["test_accuracy"], other["test_accuracy"])
        against = add_truncation(find_model(baseline).name, reach if truncation == WITHOUT else WITHOUT)
        pair = f"{find_model(model).name} minus {against}"
        found.append([add_truncation(data, truncation), pair, format_estimate(*difference, "+.1f")])
    return pd.DataFrame(found, columns=["rows", "models", "points"])


def estimate_difference(values: pd.Series, others: pd.Series) -> tuple[float, float]:
    """Returns the mean of `values` minus the mean of `others`, and half the width of the interval of Welch's t-test."""
    difference = float(values.mean() - others.mean())
    if values.nunique() == others.nunique() == 1:
        return difference, math.nan
    low, high = stats.ttest_ind(values, others, equal_var=False).confidence_interval()
    return difference, float(high - low) / 2


def format_origin(rows: pd.DataFrame) -> str:
    """Returns dates, machines, commits and examples of the records, and the rows that have none."""
    measured, missing = rows.dropna(subset="seed"), rows[rows["seed"].isna()]
    when = " to ".join(dict.fromkeys((measured["date"].min()[:10], measured["date"].max()[:10])))
    machines, commits = ("; ".join(measured[name].unique()) for name in ("machine", "commit"))
    lines = [f"- Measured {when} on {machines}.", f"- Commits: {commits}."]
    data_sets = measured.drop_duplicates("data")
    counts = data_sets["examples"].map(lambda each: ", ".join(f"{count:,} {split}" for split, count in each.items()))
    for each, names in data_sets["data"].groupby(counts, sort=False):
        lines.append(f"- Examples of {', '.join(names)}: {each}.")
    absent = [
        f"{data} ({'; '.join(group['name'])})" if data in set(measured["data"]) else str(data)
        for data, group in missing.groupby("data", sort=False)
    ]
    return "\n".join([*lines, *([f"- Not run: {', '.join(absent)}."] if absent else [])])
