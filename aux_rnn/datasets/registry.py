"""The data sets by name, and what follows from a configuration before any example is read."""

import dataclasses

from aux_rnn.config import DataConfig, SequenceSpec
from aux_rnn.datasets import arrays, breeds, builders, catalogue, dogs, recall, texts
from aux_rnn.datasets.specs import DatasetSpec, DogsDataset, ImageDataset, OwnDataset, RecallDataset, TextDataset
from aux_rnn.settings import ConfigError, reject

MNIST = ImageDataset(
    name="mnist",
    builder=builders.SequentialMnist,
    image_shape=(28, 28, 1),
    num_classes=10,
    train_examples=60_000,
    test_examples=10_000,
)

SPECS: tuple[OwnDataset, ...] = (
    ImageDataset(
        name="digits",
        builder=builders.SequentialDigits,
        image_shape=(8, 8, 1),
        num_classes=10,
        train_examples=1_437,
        test_examples=360,
    ),
    MNIST,
    dataclasses.replace(MNIST, name="pmnist", permuted=True),
    ImageDataset(
        name="cifar10",
        builder=builders.SequentialCifar10,
        image_shape=(32, 32, 3),
        num_classes=10,
        train_examples=50_000,
        test_examples=10_000,
    ),
    DogsDataset(
        name="stanford_dogs",
        builder=dogs.SequentialStanfordDogs,
        num_classes=breeds.NUM_BREEDS,
        train_examples=12_000,
        test_examples=8_580,
    ),
    TextDataset(
        name="dbpedia",
        builder=texts.SequentialDbpedia,
        longest=texts.DBPEDIA_LONGEST,
        num_classes=14,
        train_examples=560_000,
        test_examples=70_000,
    ),
    TextDataset(
        name="digits_text",
        builder=texts.SequentialDigitsText,
        longest=texts.DIGITS_LONGEST,
        num_classes=10,
        train_examples=1_437,
        test_examples=360,
    ),
    RecallDataset(
        name="recall",
        builder=recall.SequentialRecall,
        num_classes=recall.NUM_CLASSES,
        train_examples=recall.EXAMPLES["train"],
        test_examples=recall.EXAMPLES["test"],
    ),
)

DATASETS = {spec.name: spec for spec in SPECS}


@dataclasses.dataclass(frozen=True)
class SplitSizes:
    """Examples of each split as a run uses them."""

    train: int
    validation: int
    test: int


def find_dataset(config: DataConfig) -> DatasetSpec:
    """The data set of a configuration. Of `tfds:NAME` the folder's description is read, of others nothing.

    Raises:
      ConfigError: there is none of this name, or a setting does not fit it.
      DataError: `tfds:NAME` is not prepared, or not in a way that can be read here.
    """
    if config.dataset.startswith(catalogue.PREFIX):
        spec: DatasetSpec = catalogue.open_catalogue(config)
    elif config.dataset in DATASETS:
        spec = DATASETS[config.dataset]
    elif arrays.is_arrays(config.dataset):
        remedy = "call aux_rnn.fit there again, with the same workdir"
        raise ConfigError(f"--dataset={config.dataset}: arrays of a program, which are not kept; {remedy}")
    else:
        raise reject("dataset", config.dataset, f"one of {', '.join(DATASETS)} or {catalogue.PREFIX}NAME")
    spec.sequence_spec(config)
    return spec


def sequence_spec(config: DataConfig) -> SequenceSpec:
    """The shape of the sequences, without reading any example. Raises what `find_dataset` does."""
    return find_dataset(config).sequence_spec(config)


def split_sizes(config: DataConfig) -> SplitSizes | None:
    """How many examples each split has, without reading any; None where the user may have a part of the data.

    Raises:
      ConfigError: as `divide_examples` does.
      ConfigError, DataError: as `find_dataset` does.
    """
    spec = find_dataset(config)
    return None if spec.may_be_a_part else divide_examples(config, spec.train_examples, spec.test_examples)


def divide_examples(config: DataConfig, train: int, test: int) -> SplitSizes:
    """How many examples each split has, given those of the stored splits.

    Raises:
      ConfigError: fewer examples are left to train on than `train_examples` asks for, or none.
    """
    validation = round(train * config.validation_fraction)
    available = train - validation
    if available == 0:
        allowed = f"small enough to leave training data (all {train:,} examples of {config.dataset} are held out)"
        raise reject("validation_fraction", config.validation_fraction, allowed)
    if config.train_examples > available:
        held_out = f"{validation:,} of {train:,} are held out by --validation_fraction"
        allowed = f"at most {available:,}, the training examples that {config.dataset} has ({held_out})"
        raise reject("train_examples", config.train_examples, allowed)
    return SplitSizes(config.train_examples or available, validation, test)
