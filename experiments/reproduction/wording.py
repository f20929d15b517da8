"""What a report says in words, made from its numbers."""

from collections.abc import Iterator, Sequence

from aux_rnn.config import from_flat
from aux_rnn.datasets import find_dataset
from reproduction.presets import PRESETS
from reproduction.rows import MODEL_NAMES, Line, count_seeds, distinct
from reproduction.statistics import Estimate, estimate_difference
from reproduction.tables import format_machine

TITLES = {
    "table2": "Test accuracy by data set, model and truncation (the paper's table 2)",
    "lengths": "Accuracy, time and memory against the length of the sequence",
    "bptt": "Accuracy as the supervised gradient is cut shorter",
    "curves": "Training and test curves",
    "text": "Text, character by character",
    "ablations": "What the auxiliary loss needs to work",
}
SHOWS = {
    "table2": "Each model is trained with gradients that are cut (truncated) and through the whole sequence (full).",
    "lengths": (
        "The same task at several lengths. Seconds a step are those of joint training, without compilation; peak "
        "memory is that of the whole process."
    ),
    "bptt": (
        "The supervised gradient goes back the number of steps given, 0 being none: there the classifier learns on "
        "what the auxiliary loss alone has taught the network. The auxiliary loss keeps its own truncation, except "
        "where both losses are cut."
    ),
    "curves": "The test split is evaluated along the way for these curves only; nothing was chosen by it.",
    "text": "Sequences of unequal length, one character a step.",
    "ablations": (
        "Each row but the LSTM's is the r-LSTM of the preset with truncated gradients and what its name says changed. "
        "Settings are chosen by validation accuracy; the test accuracy stands beside it. Memory gain is the "
        "reconstruction loss from another example's state minus that from the true one, with inputs dropped as in "
        "training, in the units of the row's own loss (squared error, under a softmax nats)."
    ),
}
SIZES = {
    "paper": (
        "Sizes are the paper's. Half of the decoder's inputs are dropped and the auxiliary loss, a mean over its "
        "elements, has the weight 10, as small versions of the experiments suggest."
    ),
    "small": (
        "Images, networks and budgets are smaller than the paper's: its figures, if any, stand beside ours to give a "
        "scale, and a difference between the two replicates or refutes nothing."
    ),
    "digits": (
        "The data is a small stand-in that needs no network, not the paper's: this shows the method at work and says "
        "nothing about the paper's figures."
    ),
}
# What is compared with what.
PAIRS = (("r-lstm", "lstm"), ("p-lstm", "lstm"), ("both", "lstm"), ("r-lstm-cut-both", "lstm"), ("transformer", "lstm"))


def describe_setting(experiment: str, preset: str, lines: Sequence[Line]) -> Iterator[str]:
    """The paragraphs above the table: command, meaning, machine, dates, commits."""
    seeds = count_seeds(lines)
    command = f"python experiments/reproduce.py {experiment} --preset={preset} --seeds={max(seeds, 1)}"
    yield f"```sh\n{command}\n```"
    yield f"{SHOWS[experiment]} {SIZES[preset]}"
    if experiment == "lengths" and (longest := PRESETS[preset].longest):
        limits = ", ".join(f"{model} above {steps:,} steps" for model, steps in longest.items())
        yield f"Left out, for time and memory: {limits}."
    if not seeds:
        yield "There is no result yet."
        return
    yield (
        "Test accuracy is the mean over seeds with its 95 % interval (t distribution); a seed decides initialisation, "
        "order, anchors, the validation split and which examples are taken where not all are. Parameters include the "
        "decoders, which are dropped after training: what is tested of an r- or p-LSTM has as many as the LSTM."
    )
    yield from describe_parts(lines)
    dates = sorted(date[:10] for date in distinct(lines, "date"))
    when = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    machines = "; ".join(dict.fromkeys(format_machine(m) for m in distinct(lines, "machine")))
    yield f"Measured {when} on {machines}. Commit {', '.join(distinct(lines, 'commit'))}."


def describe_parts(lines: Sequence[Line]) -> Iterator[str]:
    """A sentence for the data sets of which only a part was there."""
    first = {line.data: line.records[0] for line in reversed(lines) if line.records}
    parts: dict[str, list[str]] = {}
    for data, record in reversed(first.items()):
        published, found = find_dataset(from_flat(record["config"]).data).test_examples, record["examples"]
        if found["test"] != published:
            sizes = ", ".join(f"{count:,} {part}" for part, count in found.items())
            sentence = f"only a part of the published data ({sizes} examples; published are {published:,} test)."
            parts.setdefault(sentence, []).append(data)
    yield from (f"{', '.join(names)}: {sentence}" for sentence, names in parts.items())


def describe_results(lines: Sequence[Line]) -> list[str]:
    """A sentence for each comparison that the records allow, and the missing ones."""
    by_row = {(line.data, line.model, line.truncation): line for line in lines}
    sentences = []
    ablations = [line.model for line in lines if line.model not in MODEL_NAMES]
    for line in lines:
        for model, baseline in (*PAIRS, *((name, "r-lstm") for name in ablations)):
            # The Transformer has no truncation: it stands beside the LSTM at its best, without a cut.
            truncation = "full" if model == "transformer" else line.truncation
            other = by_row.get((line.data, baseline, truncation))
            if line.model == model and other is not None and line.records and other.records and line.kin != other.kin:
                sentences.append(compare(line, other))
    return sentences


def compare(line: Line, other: Line) -> str:
    """'mnist, truncated: r-LSTM minus LSTM +3.1 ± 1.0 points, more than the seeds' spread explains.'"""
    difference = estimate_difference(line.accuracies(), other.accuracies())
    interval = "" if difference.half is None else f" ± {difference.half:.1f}"
    what = f"{line.model_name} minus {other.name if line.truncation == '-' else other.model_name}"
    where = line.data if line.truncation == "-" else f"{line.data}, {line.name.removeprefix(line.model_name + ', ')}"
    return f"{where}: {what} {difference.mean:+.1f}{interval} points, {judge(difference)}."


def describe_costs(lines: Sequence[Line]) -> list[str]:
    """Time and memory beside the truncated r-LSTM, at each model's longest sequence."""
    sentences = []
    for model, truncation in dict.fromkeys((line.model, line.truncation) for line in lines if line.records):
        line = max(
            (o for o in lines if (o.model, o.truncation) == (model, truncation) and o.records), key=lambda o: o.length
        )
        beside = [
            o for o in lines if (o.data, o.model, o.truncation) == (line.data, "r-lstm", "truncated") and o.records
        ]
        for other in beside if model != "r-lstm" else []:
            times, memory = (ratio(line, other, name) for name in ("seconds_per_step", "peak_memory_mib"))
            if times is not None and memory is not None:
                what = f"{format_factor(times)} times the time of a step and {format_factor(memory)} times the memory"
                sentences.append(f"{line.length:,} steps: {line.name} takes {what} of {other.name}.")
    return sentences


def format_factor(factor: float) -> str:
    return f"{factor:.0f}" if factor >= 10 else f"{factor:.2g}"


def ratio(line: Line, other: Line, name: str) -> float | None:
    """None where the two were not measured on the same machine."""
    mine, theirs = line.estimate(name), other.estimate(name)
    machines = distinct([line, other], "machine")
    return mine.mean / theirs.mean if mine and theirs and theirs.mean and len(machines) == 1 else None


def judge(difference: Estimate) -> str:
    if difference.half is None:
        return "with too few seeds to know their spread"
    if abs(difference.mean) > difference.half:
        return "more than the seeds' spread explains"
    return "within the spread of the seeds"


def describe_missing(lines: Sequence[Line]) -> list[str]:
    """'mnist, LSTM, full: seeds 1, 2' for every row that has not all the seeds that others have."""
    wanted = range(max(count_seeds(lines), 1))
    sentences = []
    for data in dict.fromkeys(line.data for line in lines):
        rows = [line for line in lines if line.data == data]
        if not any(line.records for line in rows):
            sentences.append(f"{data}: not run")
            continue
        for line in rows:
            seeds = [seed for seed in wanted if seed not in line.seeds]
            if not line.records:
                sentences.append(f"{data}, {line.name}: not run")
            elif seeds:
                sentences.append(f"{data}, {line.name}: seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}")
    return sentences
