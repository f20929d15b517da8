"""Bringing a data set into the data folder: from the official files to records that are read without TensorFlow."""

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds
from absl import logging

from aux_rnn.config import DataConfig
from aux_rnn.datasets.builders import SequentialBuilder
from aux_rnn.datasets.catalogue import CatalogueDataset
from aux_rnn.datasets.errors import DataError
from aux_rnn.datasets.folders import check_space, check_writable, data_folder, manual_folder, unusable
from aux_rnn.datasets.locating import are_published, locate_files
from aux_rnn.datasets.registry import find_dataset
from aux_rnn.datasets.specs import OwnDataset
from aux_rnn.errors import first_line


def prepare(config: DataConfig) -> tfds.core.DatasetBuilder:
    """Makes sure that the data set lies prepared in the data folder.

    It is looked for there, then its official files in `manual_dir`, and what is missing is downloaded.

    Returns:
      The builder of the prepared data set.

    Raises:
      ConfigError: `manual_dir` is no folder, or as `find_dataset` does.
      DataError: the data is missing, damaged, or cannot be stored.
    """
    spec, manual_dir = find_dataset(config), manual_folder(config)
    if isinstance(spec, CatalogueDataset):
        return spec.opened
    assert isinstance(spec, OwnDataset)
    return find_prepared(spec, config) or prepare_anew(spec, config, manual_dir)


def find_prepared(spec: OwnDataset, config: DataConfig) -> SequentialBuilder | None:
    """The builder of a data set that lies prepared in the data folder, or None; raises DataError if it is unusable."""
    folder = spec.folder(config, data_folder(config))
    if not os.path.lexists(folder):
        return None
    if not os.path.isfile(folder / "dataset_info.json"):  # of which tfds would print a warning
        raise unusable(folder, "it is incomplete")
    return open_builder(spec, config)


def prepare_anew(spec: OwnDataset, config: DataConfig, manual_dir: Path | None) -> SequentialBuilder:
    """Finds the official files, looks through them, and writes the records."""
    data_dir, builder = data_folder(config), open_builder(spec, config)
    check_writable(data_dir)
    if not spec.may_be_a_part:
        shape = spec.make_reader(config).shape
        check_space(data_dir, (spec.train_examples + spec.test_examples) * math.prod(shape))
    if builder.source is not None:
        builder.files = locate_files(builder.source, manual_dir, data_dir / "downloads")
        builder.are_published = not builder.source.accepts_parts or are_published(builder.source, builder.files)
        builder.inspect_files()
    try:
        write_records(builder)
    except (OSError, RuntimeError) as error:  # array_record raises the latter, for a full disk, too
        # Another process may have prepared the same folder meanwhile: one of the two wins, both hold the same data.
        if not open_builder(spec, config).is_prepared():
            raise DataError(f"--data_dir={data_dir}: preparing {spec.name} failed ({first_line(error)})") from error
    return open_builder(spec, config)


def open_builder(spec: OwnDataset, config: DataConfig) -> SequentialBuilder:
    """The builder, with what is recorded on disk if it is prepared; raises DataError if that is unusable."""
    data_dir = data_folder(config)
    try:
        return spec.open(config, data_dir)
    except Exception as error:  # tfds raises assertions, its own and JSON's errors for a folder it does not understand
        raise unusable(spec.folder(config, data_dir), first_line(error)) from error


def write_records(builder: SequentialBuilder) -> None:
    """Writes the prepared data set; its folder gets its name only when it is complete."""
    logging.info("Preparing %s in %s", builder.name, builder.data_dir)
    with quiet_progress():
        builder.download_and_prepare(
            file_format="array_record",
            download_config=tfds.download.DownloadConfig(try_download_gcs=False),
        )


@contextlib.contextmanager
def quiet_progress() -> Iterator[None]:
    """Without the progress bars of tfds, and with the caller's choice restored afterwards."""
    was_active = getattr(tfds.core.utils.tqdm_utils, "_active", True)
    tfds.disable_progress_bar()
    try:
        yield
    finally:
        tfds.display_progress_bar(was_active)
