"""Labels of any kind, mapped to the classes 0 .. K - 1 of a network."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from aux_rnn.datasets.alignment import as_array
from aux_rnn.datasets.errors import DataError

ALLOWED = "one class per sequence: integers, booleans or strings [N]"
MISSING = ("", "nan", "<NA>")  # the text of a missing label, also as NumPy and pandas convert it to a string
MAX_NAMED = 10  # classes in a message


def encode_labels(
    labels: ArrayLike | None, count: int, classes: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Maps labels `[N]` to classes `[K]`, and returns the index of the class of each, int32 `[N]`, and the classes.

    If the classes are None, they are the labels that occur, in ascending order. Raises DataError for labels that are
    missing, of another shape or kind, or not among the classes.
    """
    array = read_labels(labels, count)
    if classes is None:
        classes = np.unique(array)
        if array.dtype.kind in "if" and {-1, 0} <= set(classes.tolist()):
            remedy = "leave these examples out, or add 1 to all labels if -1 is a class"
            raise DataError(f"labels: are from -1, which often marks a missing label, to {classes[-1]}; {remedy}")
    indices = {label: index for index, label in enumerate(classes.tolist())}
    unknown = sorted(set(array.tolist()) - set(indices))
    if unknown:
        known = ", ".join(map(repr, classes[:MAX_NAMED].tolist())) + ", ..." * (len(classes) > MAX_NAMED)
        allowed = f"one of the {len(classes)} classes {known} (see num_classes)"
        raise DataError(f"labels: {unknown[0]!r} is unknown; must be {allowed}")
    return np.array([indices[label] for label in array.tolist()], np.int32), classes


def read_labels(labels: ArrayLike | None, count: int) -> np.ndarray:
    """Returns labels `[N]` as an array of integers, booleans, whole floats or strings; raises DataError for others."""
    if labels is None:
        raise DataError(f"labels: are None; must be {ALLOWED}")
    array = as_array(labels, "labels")
    if array.dtype.kind in "US" and not hasattr(labels, "dtype"):
        array = np.array(labels, object)  # of None and numbers among them, NumPy has made strings
    found = f"labels: {array.dtype} {list(array.shape)}"
    if array.ndim != 1:
        columns = array.shape[1] if array.ndim == 2 else 0
        is_one_hot = columns > 1 and bool(((array != 0).sum(axis=1) == 1).all())
        remedy = f"; write labels{'.argmax(axis=1)' if is_one_hot else '[:, 0]'}"
        raise DataError(f"{found}: must be {ALLOWED}{remedy * (is_one_hot or columns == 1)}")
    if len(array) != count:
        raise DataError(f"labels: there are {len(array):,} for {count:,} sequences; must be one per sequence")
    missing = np.array([is_missing(label) for label in array.tolist()])
    if missing.any():
        found = f"{missing.sum():,} of {count:,} are missing, the first at [{missing.argmax()}]"
        raise DataError(f"labels: {found}; leave these examples out")
    if array.dtype.kind in "OT":
        kinds = {type(label) for label in array.tolist()}
        if not all(issubclass(kind, str | int) for kind in kinds) or (str in kinds and len(kinds) > 1):
            names = ", ".join(sorted(kind.__name__ for kind in kinds))
            raise DataError(f"{found} with elements of {names}: must be {ALLOWED}")
        array = np.array(array.tolist())
    if array.dtype.kind == "f" and (fractions := array[array != np.floor(array)]).size:
        raise DataError(f"{found} with values such as {fractions[0]}: must be {ALLOWED}")
    if array.dtype.kind not in "biufUS":
        raise DataError(f"{found}: must be {ALLOWED}")
    return array


def is_missing(label: Any) -> bool:
    """Returns whether a label is None, NaN, pandas.NA, NaT, or what they become as a string."""
    return str(label) in (MISSING if isinstance(label, str) else (*MISSING, "None", "NaT"))
