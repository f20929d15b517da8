"""What there is in a data set once it is prepared."""

import dataclasses
import time
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from aux_rnn.config import DataConfig, SequenceSpec
from aux_rnn.datasets.builders import ARE_PUBLISHED
from aux_rnn.datasets.examples import Splits
from aux_rnn.datasets.folders import unusable
from aux_rnn.datasets.loading import load_splits
from aux_rnn.datasets.preparing import find_prepared, prepare
from aux_rnn.datasets.registry import SplitSizes, find_dataset
from aux_rnn.datasets.specs import DatasetSpec, OwnDataset
from aux_rnn.errors import first_line


@dataclasses.dataclass(frozen=True)
class DataDescription:
    """A prepared data set, as the settings cut it.

    Attributes:
      dataset: its name.
      folder: where it lies.
      was_prepared: whether it lay there before.
      seconds: to prepare, if need be, and to read it.
      spec: the shape of its sequences.
      text_lengths: bytes of the shortest, the median and the longest text; None for images.
      sizes: examples of each split.
      test_split: what the test split is called where it lies.
      smallest, largest: (name, examples) of the smallest and the largest class, of the training and validation
        examples.
      origin: whether it is the published data.
    """

    dataset: str
    folder: Path
    was_prepared: bool
    seconds: float
    spec: SequenceSpec
    text_lengths: tuple[int, int, int] | None
    sizes: SplitSizes
    test_split: str
    smallest: tuple[str, int]
    largest: tuple[str, int]
    origin: str


def describe_data(config: DataConfig, seed: int) -> DataDescription:
    """Prepares a data set if this was never done, reads all of it, and says what was found.

    Raises:
      ConfigError, DataError: as `load_splits` does.
    """
    start = time.monotonic()
    spec = find_dataset(config)
    was_prepared = not isinstance(spec, OwnDataset) or find_prepared(spec, config) is not None
    splits, builder = load_splits(config, seed), prepare(config)
    label = builder.info.features[spec.make_reader(config).label_name]
    if not len(label.names) == len(set(label.names)) == spec.num_classes:
        reason = f"{len(set(label.names)):,} names of classes instead of {spec.num_classes:,}"
        raise unusable(builder.data_dir, reason, spec.remedy)
    smallest, largest = extreme_classes(splits, label)
    return DataDescription(
        dataset=spec.name,
        folder=Path(builder.data_dir),
        was_prepared=was_prepared,
        seconds=time.monotonic() - start,
        spec=spec.sequence_spec(config),
        text_lengths=measure_texts(splits),
        sizes=SplitSizes(len(splits.train), len(splits.validation), len(splits.test)),
        test_split=spec.test_split,
        smallest=smallest,
        largest=largest,
        origin=describe_origin(spec, builder),
    )


def class_names(config: DataConfig) -> list[str]:
    """What the classes of a prepared data set are called, by label. Raises what `prepare` does."""
    label = prepare(config).info.features[find_dataset(config).make_reader(config).label_name]
    return [label.int2str(k) for k in range(label.num_classes)]


def measure_texts(splits: Splits) -> tuple[int, int, int] | None:
    """Shortest, median and longest text of all splits, in bytes."""
    parts = [part.lengths for part in (splits.train, splits.validation, splits.test) if part.lengths is not None]
    if not parts:
        return None
    lengths = np.concatenate(parts)
    return int(lengths.min()), int(np.median(lengths)), int(lengths.max())


def extreme_classes(splits: Splits, label: tfds.features.ClassLabel) -> tuple[tuple[str, int], tuple[str, int]]:
    """(name, examples) of the smallest and the largest class; the first of equals."""
    labels = np.concatenate([splits.train.labels, splits.validation.labels])
    counts = np.bincount(labels, minlength=label.num_classes)
    smallest, largest = int(counts.argmin()), int(counts.argmax())
    return (label.int2str(smallest), int(counts[smallest])), (label.int2str(largest), int(counts[largest]))


def are_recorded_as_published(builder: tfds.core.DatasetBuilder) -> bool:
    try:
        return builder.info.metadata[ARE_PUBLISHED] is True
    except Exception as error:  # tfds reads the record only now
        raise unusable(builder.data_dir, f"metadata: {first_line(error)}") from error


def describe_origin(spec: DatasetSpec, builder: tfds.core.DatasetBuilder) -> str:
    """Whether the data is what its authors published, in a few words; raises DataError for a damaged record of it."""
    if not isinstance(spec, OwnDataset):
        return "prepared by tfds, not compared with what was published"
    if spec.builder.source is None:
        return "needs no files"
    if not spec.may_be_a_part or are_recorded_as_published(builder):
        return "the published data, by its checksums"
    found = {split: builder.info.splits[split].num_examples for split in ("train", "test")}
    if (found["train"], found["test"]) == (spec.train_examples, spec.test_examples):
        return "as many examples as published; no checksum confirms them"
    return (
        f"not the published archive: {found['train']:,} of {spec.train_examples:,} training, "
        f"{found['test']:,} of {spec.test_examples:,} test examples"
    )
