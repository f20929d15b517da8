"""The folders of this machine that data is read from and written to."""

import os
import shutil
import tempfile
from pathlib import Path

from aux_rnn.config import DataConfig
from aux_rnn.datasets.errors import DataError
from aux_rnn.errors import first_line
from aux_rnn.settings import is_plain_text, plain_text, reject

PREPARE_ANEW = "move this folder away to have it prepared anew, or name another --data_dir"


def data_folder(config: DataConfig) -> Path:
    """Where prepared data lies: `data_dir`, or else the default of tfds. Raises ConfigError for an address."""
    return local_folder("data_dir", config.data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")


def manual_folder(config: DataConfig) -> Path | None:
    """The user's folder of official files, or None; raises ConfigError if it is none."""
    if not config.manual_dir:
        return None
    folder = local_folder("manual_dir", config.manual_dir)
    if not os.path.isdir(folder):  # not Path.is_dir, which raises for a name that is too long
        raise reject("manual_dir", config.manual_dir, "an existing folder")
    return folder


def local_folder(name: str, value: str) -> Path:
    """The folder of a setting, with ~ resolved; raises ConfigError for an address such as gs://bucket, or no text."""
    if not is_plain_text(value):  # as it may be in a variable of the environment
        raise reject(name, value, plain_text().phrase)
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


def check_space(data_dir: Path, wanted: int) -> None:
    """Raises DataError unless the folder's disk has room for so many bytes."""
    free = shutil.disk_usage(data_dir).free
    if wanted > free:
        takes = f"too little space: the data takes {wanted / 2**20:,.1f} MiB and there are {free / 2**20:,.1f}"
        raise DataError(f"--data_dir={data_dir}: {takes}; name another folder, or take shorter sequences")


def unusable(folder: str | os.PathLike[str], reason: str, remedy: str = PREPARE_ANEW) -> DataError:
    """The error for a prepared folder that is not what it must be."""
    return DataError(f"{os.fspath(folder)}: damaged, or prepared by another version ({reason}); {remedy}")
