"""The folders of this machine that data is read from and written to."""

import os
from pathlib import Path

from aux_rnn.config.fields import is_plain_text, plain_text, reject
from aux_rnn.config.settings import DataConfig


def data_folder(config: DataConfig) -> Path:
    """Returns the folder of prepared data, by default that of tfds; raises ConfigError for an address."""
    return local_folder("data_dir", config.data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")


def manual_folder(config: DataConfig) -> Path | None:
    """Returns the user's folder of official files, or None; raises ConfigError if it does not exist."""
    if not config.manual_dir:
        return None
    folder = local_folder("manual_dir", config.manual_dir)
    if not os.path.isdir(folder):  # not Path.is_dir, which raises for a name that is too long
        raise reject("manual_dir", config.manual_dir, "an existing folder")
    return folder


def local_folder(name: str, value: str) -> Path:
    """Returns the folder of a setting, with ~ resolved; raises ConfigError for an address such as gs://bucket."""
    if not is_plain_text(value):  # which may come from a variable of the environment
        raise reject(name, value, plain_text().phrase)
    if "://" in value:
        raise reject(name, value, "a folder of this machine; copy or mount the data first")
    return Path(os.path.expanduser(value))
