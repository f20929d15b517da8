"""Files that describe a trained network: `form.json` in the folder of a run, and networks saved as one file.

A saved network is an archive of NumPy (`.npz`) whose entry `header` is a JSON text. Neither file contains pickled
objects, so reading one runs no code.
"""

import dataclasses
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aux_rnn.config.spec import SequenceSpec
from aux_rnn.datasets.arrays import Form
from aux_rnn.errors import OneLineError, first_line
from aux_rnn.storage.workdir import WorkdirError, write_atomically

FORM, HEADER = "form.json", "header"
VERSION = 1  # of the format of saved networks


class ModelFileError(OneLineError):
    """A file does not hold a network that can be used. The text names it and the reason, in one line.

    Examples:
      >>> read_model(Path("nowhere.npz"))
      Traceback (most recent call last):
      aux_rnn.storage.model_file.ModelFileError: nowhere.npz: not a network that Fitted.save wrote (No such file ...
    """


def form_to_json(form: Form) -> dict[str, Any]:
    """Returns a form as a dictionary of JSON values; the inverse of `form_from_json`."""
    return {**dataclasses.asdict(form), "dtype": form.dtype.name}


def form_from_json(values: Mapping[str, Any]) -> Form:
    """Returns the form of a dictionary; raises TypeError or ValueError if it is none."""
    spec, dtype = SequenceSpec(**values["spec"]), np.dtype(values["dtype"])
    lists = {name: tuple(each) for name, each in values.items() if isinstance(each, list)}
    return Form(**{**values, **lists, "spec": spec, "dtype": dtype})


def write_form(path: Path, form: Form) -> None:
    """Writes `form.json` into the folder of a run, unless it has one."""
    if not (path / FORM).exists():
        write_atomically(path / FORM, json.dumps(form_to_json(form), indent=2) + "\n")


def read_form(path: Path) -> Form:
    """Returns the form of the sequences of a run. Raises WorkdirError."""
    try:
        return form_from_json(json.loads((path / FORM).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise WorkdirError(f"{path / FORM}: cannot be read ({first_line(error)}); restore it from a copy") from error


def write_model(path: Path, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a header of JSON values and arrays by name into one compressed file; raises ModelFileError."""
    text = json.dumps({**header, "version": VERSION}).encode()
    content = io.BytesIO()
    entries: dict[str, Any] = {HEADER: np.frombuffer(text, np.uint8), **arrays}
    np.savez_compressed(content, **entries)
    try:
        write_atomically(path, content.getvalue())
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be written ({error.strerror}); make room or name another file") from error


def read_model(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Returns the header and the arrays of a saved network. Raises ModelFileError, also for a later version."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}  # the archive verifies a checksum of each
        header = json.loads(arrays.pop(HEADER).tobytes())
        if header["version"] > VERSION:
            raise ValueError(f"version {header['version']} of the format; this aux_rnn reads up to {VERSION}")
    except Exception as error:  # NumPy and zipfile raise many kinds of errors for damaged files
        missing = f"it has no {error}" if isinstance(error, KeyError) else ""
        reason = missing or getattr(error, "strerror", None) or first_line(error)
        raise ModelFileError(f"{path}: not a network that Fitted.save wrote ({reason}); name another file") from error
    return header, arrays
