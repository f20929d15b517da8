"""The site is made of the files of the repository, at the paths that they have in it, so that their links lead to where
they lead in the repository.
"""

import json
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md", "results/**/*.md")
# Files that pages link to or show, and files that the reports in results name.
LINKED = (
    "CITATION.cff",
    "docs/*.ipynb",
    "docs/*.png",
    "docs/*.svg",
    "aux_rnn/**/*.py",
    "experiments/**/*.py",
    "experiments/flags/*.flags",
    "experiments/launch/*",
    "tests/**/*.py",
    "results/**/*.svg",
    "results/**/*.png",
    "results/**/*.csv",
    "results/**/*.jsonl",
    "results/**/*.npz",
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Called by MkDocs with the files of `docs/`, which are named from there; those of the theme are kept."""
    kept = [file for file in files if not (file.abs_src_path or "").startswith(config.docs_dir)]
    found = sorted({path for pattern in (*PAGES, *LINKED) for path in ROOT.glob(pattern) if path.is_file()})
    names = [path.relative_to(ROOT).as_posix() for path in found]
    copied = [File.generated(config, name, abs_src_path=str(ROOT / name)) for name in names]
    notebooks = [path for path in found if path.suffix == ".ipynb"]
    pages = [
        File.generated(config, path.relative_to(ROOT).with_suffix(".md").as_posix(), content=to_markdown(path))
        for path in notebooks
    ]
    return Files([*kept, *copied, *pages])


def to_markdown(notebook: Path) -> str:
    """Returns the cells of a notebook with their outputs, of which text and PNG pictures are shown."""
    parts = []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            if picture := output.get("data", {}).get("image/png"):
                parts.append(f"![Output of the cell above](data:image/png;base64,{picture.strip()})")
            elif text := output.get("text"):
                parts.append(f"```text\n{''.join(text).rstrip()}\n```")
    return "\n\n".join(parts) + "\n"
