"""Bringing a data set into the data folder: from the official files to records that are read without TensorFlow."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds
from absl import logging

from aux_rnn.config import DataConfig
from aux_rnn.datasets.builders import SequentialImages
from aux_rnn.datasets.download import first_line
from aux_rnn.datasets.errors import DataError
from aux_rnn.datasets.registry import DatasetSpec, find_dataset
from aux_rnn.datasets.sources import locate_files
from aux_rnn.settings import reject


def prepare(config: DataConfig) -> SequentialImages:
    """Makes sure that the data set lies prepared in the data folder.

    It is looked for there, then its official files in `manual_dir`, and what is missing is downloaded.

    Returns:
      The builder of the prepared data set.

    Raises:
      ConfigError: `manual_dir` is no folder, or as `find_dataset` does.
      DataError: the data is missing, damaged, or cannot be stored.
    """
    spec = find_dataset(config)
    data_dir = local_folder("data_dir", config.data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
    manual_dir = local_folder("manual_dir", config.manual_dir) if config.manual_dir else None
    if manual_dir is not None and not manual_dir.is_dir():
        raise reject("manual_dir", config.manual_dir, "an existing folder")
    builder = open_builder(spec, data_dir)
    if os.path.lexists(builder.data_dir):
        if not builder.is_prepared():
            raise unusable(builder.data_dir, "it is incomplete")
        return builder
    check_writable(data_dir)
    if builder.source is not None:
        builder.files = locate_files(builder.source, manual_dir, data_dir / "downloads")
    try:
        write_records(builder)
    except OSError as error:
        # Another process may have prepared the same folder meanwhile: one of the two wins, both hold the same data.
        if not open_builder(spec, data_dir).is_prepared():
            raise DataError(f"--data_dir={data_dir}: preparing {spec.name} failed ({first_line(error)})") from error
    return open_builder(spec, data_dir)


def local_folder(name: str, value: str) -> Path:
    """The folder of a setting, with ~ resolved; raises ConfigError for an address such as gs://bucket."""
    if "://" in value:
        raise reject(name, value, "a folder of this machine; copy or mount the data first")
    return Path(os.path.expanduser(value))


def check_writable(data_dir: Path) -> None:
    """Raises DataError, before any work is done, unless files can be created in the folder."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=data_dir):
            pass
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise DataError(f"--data_dir={data_dir}: cannot be written ({reason}); name another folder") from error


def open_builder(spec: DatasetSpec, data_dir: Path) -> SequentialImages:
    """The builder, with what is recorded on disk if it is prepared; raises DataError if that is unusable."""
    try:
        return spec.builder(data_dir=data_dir)
    except Exception as error:  # tfds raises assertions, its own and JSON's errors for a folder it does not understand
        folder = data_dir / spec.builder.name / str(spec.builder.VERSION)
        raise unusable(folder, first_line(error)) from error


def write_records(builder: SequentialImages) -> None:
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


def unusable(folder: str | os.PathLike[str], reason: str) -> DataError:
    return DataError(
        f"{os.fspath(folder)}: damaged, or prepared by another version ({reason}); "
        f"move this folder away to have it prepared anew, or name another --data_dir"
    )
