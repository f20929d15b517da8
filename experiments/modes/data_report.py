"""The output of `--mode=prepare`."""

import time
from collections.abc import Iterator, Sequence

import numpy as np
from cli.tables import format_entry

from aux_rnn.config.settings import DataConfig
from aux_rnn.config.spec import SequenceSpec
from aux_rnn.datasets import Splits, find_dataset, load_splits

Row = tuple[str, str]


def report_data(config: DataConfig, seed: int) -> str:
    """Prepares a data set if this was never done, reads all of it, and describes it in lines of at most 80 columns.

    Raises the errors of `load_splits`.
    """
    start, dataset = time.monotonic(), find_dataset(config)
    when = ", prepared before" if dataset.is_prepared(config) else ", prepared now"
    splits, opened = load_splits(config, seed), dataset.open(config)
    rows = [("data set", dataset.name), ("folder", str(opened.folder or "needs no files"))]
    rows += describe_sequences(dataset.sequence_spec(config), splits)
    sizes = ", ".join(f"{count:,} {name}" for name, count in splits.counts().items())
    test = "" if dataset.test_split == "test" else f" (its {dataset.test_split} split)"
    rows += [("examples", sizes + test), ("classes", str(dataset.num_classes))]
    rows += describe_classes(np.concatenate([splits.train.labels, splits.validation.labels]), opened.class_names)
    train, test_examples = len(opened.open_split("train")), len(splits.test)
    if (train, test_examples) != (dataset.train_examples, dataset.test_examples):
        published = f"{test_examples:,} of {dataset.test_examples:,} test examples"
        rows += [("a part", f"{train:,} of {dataset.train_examples:,} training and {published}")]
    rows += [("time", f"{time.monotonic() - start:.1f} s" + when * (opened.folder is not None))]
    return "\n".join(format_entry(name, value) for name, value in rows)


def describe_sequences(spec: SequenceSpec, splits: Splits) -> Iterator[Row]:
    """Yields the shape of the sequences and, if they are padded, their lengths."""
    is_text = spec.vocabulary_size == 256
    element = f" x {spec.channels} channel{'s' * (spec.channels > 1)}"
    if spec.vocabulary_size:
        element = f", each one of {spec.vocabulary_size} {'bytes' if is_text else 'tokens'}"
    lengths = [part.lengths for part in (splits.train, splits.validation, splits.test) if part.lengths is not None]
    yield "sequences", "at most " * bool(lengths) + f"{spec.length:,} steps{element}"
    if lengths:
        shortest, median, longest = np.quantile(np.concatenate(lengths), (0, 0.5, 1)).astype(int)
        name, unit = ("texts", "bytes") if is_text else ("lengths", "steps")
        yield name, f"{shortest:,} to {longest:,} {unit} long, median {median:,}"


def describe_classes(labels: np.ndarray, names: Sequence[str]) -> list[Row]:
    """Returns the number of examples of the smallest and the largest class."""
    counts, unit = np.bincount(labels, minlength=len(names)), "training and validation examples"
    smallest, largest = int(counts.argmin()), int(counts.argmax())
    if counts[smallest] == counts[largest]:
        return [("each", f"{counts[smallest]:,} {unit}")]
    return [
        ("smallest", f"{names[smallest]}, {counts[smallest]:,} {unit}"),
        ("largest", f"{names[largest]}, {counts[largest]:,}"),
    ]
