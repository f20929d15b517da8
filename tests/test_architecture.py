"""Checks that imports only go down the layers and have no cycles."""

import ast
import graphlib
from pathlib import Path

ROOT = Path(__file__).parent.parent / "aux_rnn"
# From the bottom to the top. A module imports only from its own layer and the layers before it.
LAYERS = ["errors", "config", "system", "recurrence", "datasets", "storage", "distributed", "model", "plots"]
LAYERS += ["training", "analysis", "api", "__init__"]
MODULES = sorted(ROOT.rglob("*.py"))


def layer_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path): path for path in MODULES}


def imports_of(path: Path) -> set[str]:
    """Returns the modules of the package that a module imports, at any place in it except in docstrings."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("aux_rnn"):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in NAMES else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("aux_rnn")}
    return found - {name_of(path)}


def test_imports_go_down_the_layers_and_have_no_cycles():
    graph = {name: imports_of(path) for name, path in NAMES.items()}
    pairs = [(name, other) for name, others in graph.items() for other in others]
    assert [pair for pair in pairs if LAYERS.index(layer_of(pair[1])) > LAYERS.index(layer_of(pair[0]))] == []
    del graph["aux_rnn"]
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError
