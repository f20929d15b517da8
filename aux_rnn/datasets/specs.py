"""The kinds of data sets: what is known of each before any example is read, and which settings it takes."""

import abc
import dataclasses
from pathlib import Path

import tensorflow_datasets as tfds

from aux_rnn.config import DataConfig, SequenceSpec
from aux_rnn.datasets import builders, dogs, recall, texts
from aux_rnn.datasets.folders import PREPARE_ANEW
from aux_rnn.datasets.readers import ImageReader, Reader, TextReader
from aux_rnn.settings import reject


@dataclasses.dataclass(frozen=True, kw_only=True)
class DatasetSpec(abc.ABC):
    """A data set of labelled sequences.

    Attributes:
      name: value of `--dataset`.
      num_classes: K.
      train_examples: examples of the training split as published, before a validation part is taken from it.
      test_examples: examples of the test split as published.
      test_split: what the test split is called.
      permuted: whether the elements are read in one fixed random order.
      remedy: what to do about a prepared folder that is damaged.
    """

    name: str
    num_classes: int
    train_examples: int
    test_examples: int
    test_split: str = "test"
    permuted: bool = False
    remedy: str = PREPARE_ANEW

    @property
    def may_be_a_part(self) -> bool:
        """Whether a user may have less than was published, so that only the prepared data knows the counts."""
        return False

    @abc.abstractmethod
    def sequence_spec(self, config: DataConfig) -> SequenceSpec:
        """The shape of the sequences; raises ConfigError for settings that this data set does not take."""

    @abc.abstractmethod
    def make_reader(self, config: DataConfig) -> Reader:
        """What makes arrays of the records."""

    def refuse_image_size(self, config: DataConfig) -> None:
        if config.image_size:
            raise reject("image_size", config.image_size, f"0 ({self.name} has no images; see --sequence_length)")

    def refuse_sequence_length(self, config: DataConfig) -> None:
        if config.sequence_length:
            allowed = f"0 (the images of {self.name} decide; see --image_size)"
            raise reject("sequence_length", config.sequence_length, allowed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnDataset(DatasetSpec):
    """A data set that one of our builders prepares.

    Attributes:
      builder: the class that prepares it.
    """

    builder: type[builders.SequentialBuilder]

    @property
    def may_be_a_part(self) -> bool:
        return self.builder.source is not None and self.builder.source.accepts_parts

    def builder_config(self, config: DataConfig) -> tfds.core.BuilderConfig | None:
        """Which of its configurations is prepared, if it has several."""
        return None

    def open(self, config: DataConfig, data_dir: Path) -> builders.SequentialBuilder:
        return self.builder(data_dir=data_dir, config=self.builder_config(config))

    def folder(self, config: DataConfig, data_dir: Path) -> Path:
        """Where its prepared data lies."""
        chosen = self.builder_config(config)
        return data_dir / self.builder.name / (chosen.name if chosen else "") / str(self.builder.VERSION)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageDataset(OwnDataset):
    """Square images of one size, read pixel by pixel and shrunk when loaded.

    Attributes:
      image_shape: (H, W, C) as stored.
    """

    image_shape: tuple[int, int, int]

    def sequence_spec(self, config: DataConfig) -> SequenceSpec:
        self.refuse_sequence_length(config)
        if config.image_size > self.image_shape[0]:
            allowed = f"at most {self.image_shape[0]}, the side of the images of {self.name} (0 keeps it)"
            raise reject("image_size", config.image_size, allowed)
        side = config.image_size or self.image_shape[0]
        return SequenceSpec(length=side**2, channels=self.image_shape[2], num_classes=self.num_classes)

    def make_reader(self, config: DataConfig) -> ImageReader:
        side = config.image_size or self.image_shape[0]
        return ImageReader((side, side, self.image_shape[2]), self.image_shape)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DogsDataset(OwnDataset):
    """Photographs, prepared at one of several sides."""

    def sequence_spec(self, config: DataConfig) -> SequenceSpec:
        self.refuse_sequence_length(config)
        if config.image_size not in (0, *dogs.SIDES):
            sides = ", ".join(map(str, dogs.SIDES))
            raise reject("image_size", config.image_size, f"one of {sides} for {self.name} (0: {dogs.SIDES[-1]})")
        return SequenceSpec(length=self._side(config) ** 2, channels=3, num_classes=self.num_classes)

    def builder_config(self, config: DataConfig) -> tfds.core.BuilderConfig:
        return next(c for c in dogs.SequentialStanfordDogs.BUILDER_CONFIGS if c.side == self._side(config))

    def make_reader(self, config: DataConfig) -> ImageReader:
        shape = (self._side(config), self._side(config), 3)
        return ImageReader(shape, shape)

    def _side(self, config: DataConfig) -> int:
        return config.image_size or dogs.SIDES[-1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecallDataset(OwnDataset):
    """Synthetic sequences, made at the length that is asked for."""

    def sequence_spec(self, config: DataConfig) -> SequenceSpec:
        self.refuse_image_size(config)
        if config.sequence_length == 1:
            raise reject("sequence_length", 1, f"at least 2 for {self.name} (0: {recall.DEFAULT_LENGTH})")
        return SequenceSpec(length=self._length(config), channels=1, num_classes=self.num_classes)

    def builder_config(self, config: DataConfig) -> tfds.core.BuilderConfig:
        return recall.length_config(self._length(config))

    def make_reader(self, config: DataConfig) -> ImageReader:
        shape = (1, self._length(config), 1)
        return ImageReader(shape, shape)

    def _length(self, config: DataConfig) -> int:
        return config.sequence_length or recall.DEFAULT_LENGTH


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextDataset(OwnDataset):
    """Texts of unequal lengths, read byte by byte and cut when loaded.

    Attributes:
      longest: bytes kept of the longest text.
    """

    longest: int

    def sequence_spec(self, config: DataConfig) -> SequenceSpec:
        self.refuse_image_size(config)
        if config.sequence_length > self.longest:
            allowed = f"at most {self.longest:,}, the bytes that {self.name} keeps of its longest text (0 takes all)"
            raise reject("sequence_length", config.sequence_length, allowed)
        return SequenceSpec(
            length=config.sequence_length or self.longest,
            channels=1,
            num_classes=self.num_classes,
            vocabulary_size=texts.VOCABULARY_SIZE,
        )

    def make_reader(self, config: DataConfig) -> TextReader:
        return TextReader(config.sequence_length or self.longest)
