"""Random orders that are the same on every machine and with every version of NumPy."""

import numpy as np


def make_permutation(length: int, seed: int) -> np.ndarray:
    """Returns the permutation of `0 .. length - 1` for a seed, int64 `[length]`; the same on every machine."""
    # NumPy guarantees the raw output of a bit generator across versions; `Generator.permutation` may change.
    return np.argsort(np.random.PCG64(seed).random_raw(length), kind="stable")
