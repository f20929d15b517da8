"""The shapes of the arrays of a network by path, and how those of another one differ."""

from collections.abc import Mapping
from typing import Any

import jax


def shapes_of(tree: Any) -> dict[str, list[int]]:
    """Returns the shapes of all arrays by path, such as 'params/head/output/bias'."""
    leaves = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): list(leaf.shape) for path, leaf in leaves}


def describe_shapes(found: Mapping[str, list[int]], expected: Mapping[str, list[int]]) -> str:
    """Describes the first array that differs; returns an empty string if none does."""

    # Arrays that both have are the most informative, and parameters more than the state of the optimizer.
    def rank(path: str) -> tuple[bool, bool, str]:
        return path not in found or path not in expected, not path.startswith("params/"), path

    for path in sorted(found.keys() | expected.keys(), key=rank):
        if path not in found:
            return f"it has no {path}, which is {expected[path]} by the settings"
        if path not in expected:
            return f"it has {path} {found[path]}, and there is none by the settings"
        if found[path] != expected[path]:
            return f"{path} is {found[path]} there, and {expected[path]} by the settings"
    return ""
