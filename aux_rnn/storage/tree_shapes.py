"""The shapes of the arrays of a network by path, and how those of another one differ."""

from collections.abc import Mapping
from typing import Any

import jax


def shapes_of(tree: Any) -> dict[str, list[int]]:
    """Returns the shapes of all arrays by path, such as 'params/head/output/bias'."""
    leaves = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): list(leaf.shape) for path, leaf in leaves}


def describe_shapes(found: Mapping[str, list[int]], expected: Mapping[str, list[int]]) -> str:
    """Describes one array that differs; returns an empty string if none does."""
    # Arrays that both have are the most informative, and parameters more than the state of the optimizer.
    differing = [
        (path not in found or path not in expected, not path.startswith("params/"), path)
        for path in found.keys() | expected.keys()
        if found.get(path) != expected.get(path)
    ]
    if not differing:
        return ""
    path = min(differing)[-1]
    return f"{path} is {found.get(path, 'missing')} there, and {expected.get(path, 'there is none')} by the settings"
