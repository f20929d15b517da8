"""Data sets: prepared once by tfds, read into arrays, shuffled by Grain. No TensorFlow is involved."""

from aux_rnn.datasets.batches import TrainBatches, evaluation_batches, steps_per_epoch
from aux_rnn.datasets.dataset import Dataset
from aux_rnn.datasets.errors import DataError
from aux_rnn.datasets.examples import Examples, Splits
from aux_rnn.datasets.loading import (
    SplitSizes,
    dataset_names,
    divide_examples,
    find_dataset,
    load_splits,
    sequence_spec,
    split_sizes,
)

__all__ = [
    "DataError",
    "Dataset",
    "Examples",
    "SplitSizes",
    "Splits",
    "TrainBatches",
    "dataset_names",
    "divide_examples",
    "evaluation_batches",
    "find_dataset",
    "load_splits",
    "sequence_spec",
    "split_sizes",
    "steps_per_epoch",
]
