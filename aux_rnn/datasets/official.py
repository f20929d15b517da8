"""Data sets that are prepared from the files that their authors publish.

They are stored by tfds as array_record, in the order of the official files and as raw bytes, which are read several
times faster than PNG. The names of the folders differ from those of the tfds catalogue.
"""

import contextlib
import dataclasses
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from aux_rnn.config.fields import setting_error
from aux_rnn.config.settings import DataConfig
from aux_rnn.datasets.dataset import Dataset, OpenedDataset
from aux_rnn.datasets.errors import DataError
from aux_rnn.datasets.files import Source, locate
from aux_rnn.datasets.prepared import data_folder, local_folder, open_builder, read_builder
from aux_rnn.errors import first_line

VERSION = tfds.core.Version("1.0.0")
PREPARE_AGAIN = "move this folder away to have it prepared again, or name another data_dir"

Files = Mapping[str, Path]
Example = tuple[np.ndarray, int]  # a sequence and its label


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfficialDataset(Dataset):
    """A data set with official files.

    `read_split` yields the examples of 'train' or 'test' in their official order, and `read_class_names` returns the
    names of the classes, by label. The variant names what is stored, if the files hold several data sets or images of
    another size.
    """

    source: Source
    read_split: Callable[[Files, str], Iterator[Example]]
    read_class_names: Callable[[Files], Sequence[str]]
    variant: str = ""

    @property
    def input_name(self) -> str:
        """Returns the name of the sequence in a stored record."""
        return "text" if self.form.vocabulary_size else "image"

    def folder(self, config: DataConfig) -> Path:
        """Returns the folder of the prepared data."""
        return data_folder(config) / f"sequential_{self.source.name}" / self.variant / str(VERSION)

    def is_prepared(self, config: DataConfig) -> bool:
        return os.path.lexists(self.folder(config))

    def open(self, config: DataConfig) -> OpenedDataset:
        manual_dir = manual_folder(config)
        if not self.is_prepared(config):
            self._prepare(config, manual_dir)
        folder = self.folder(config)
        builder = read_builder(folder, PREPARE_AGAIN)
        for split, published in (("train", self.train_examples), ("test", self.test_examples)):
            found = builder.info.splits[split].num_examples if split in builder.info.splits else 0
            if found == 0 or (found != published and not config.allow_partial):
                reason = f"{split} has {found:,} examples instead of the published {published:,}"
                raise DataError(f"{folder}: {reason}; allow_partial=True accepts a part, or {PREPARE_AGAIN}")
        return open_builder(builder, self.input_name, "label", PREPARE_AGAIN)

    def _prepare(self, config: DataConfig, manual_dir: Path | None) -> None:
        data_dir = data_folder(config)
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            tfds.disable_progress_bar()
            with contextlib.redirect_stdout(io.StringIO()):  # tfds prints what it does
                files = locate(self.source, manual_dir, data_dir / "downloads", config.allow_partial)
                logging.info("Preparing %s in %s", self.name, data_dir)
                self._make_builder(data_dir, files).download_and_prepare(file_format="array_record")
        except DataError:
            raise
        except Exception as error:  # tfds and array_record raise many kinds of errors
            # Another process may have prepared the same folder in the meantime; the data is the same.
            if not self.is_prepared(config):
                raise DataError(f"data_dir={data_dir}: preparing {self.name} failed ({first_line(error)})") from error

    def _make_builder(self, data_dir: Path, files: Files) -> tfds.core.GeneratorBasedBuilder:
        """Returns the builder that writes the prepared data."""
        dataset, form = self, self.form
        features = {
            self.input_name: tfds.features.Tensor(shape=form.stored_shape, dtype=form.dtype, encoding="bytes"),
            "label": tfds.features.ClassLabel(names=list(self.read_class_names(files))),
        }

        class Official(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
            VERSION = VERSION
            name = f"sequential_{dataset.source.name}"

            def _info(self) -> tfds.core.DatasetInfo:
                return tfds.core.DatasetInfo(
                    builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
                )

            def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
                return {split: self._generate_examples(split) for split in ("train", "test")}

            def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
                for number, (sequence, label) in enumerate(dataset.read_split(files, split)):
                    yield number, {dataset.input_name: sequence, "label": int(label)}

        return Official(data_dir=data_dir, config=tfds.core.BuilderConfig(name=self.variant) if self.variant else None)


def manual_folder(config: DataConfig) -> Path | None:
    """Returns the user's folder of official files, or None; raises ConfigError if it does not exist."""
    if not config.manual_dir:
        return None
    folder = local_folder("manual_dir", config.manual_dir)
    if not os.path.isdir(folder):  # not Path.is_dir, which raises for a name that is too long
        raise setting_error("manual_dir", config.manual_dir, "an existing folder")
    return folder
