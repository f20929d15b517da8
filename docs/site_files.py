"""The site is made of the files of the repository, at the paths that they have in it, so that their links lead to where
they lead in the repository.
"""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md", "results/**/*.md")
# What pages link to or show; of results also what the reports name.
LINKED = (
    "CITATION.cff",
    "docs/*.png",
    "docs/*.svg",
    "aux_rnn/**/*.py",
    "experiments/**/*.py",
    "experiments/flags/*.flags",
    "experiments/launch/*",
    "tests/naive.py",
    "results/**/*.svg",
    "results/**/*.png",
    "results/**/*.csv",
    "results/**/*.jsonl",
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Called by MkDocs with the files of `docs/`, which are named from there; those of the theme are kept."""
    kept = [file for file in files if not (file.abs_src_path or "").startswith(config.docs_dir)]
    found = sorted({path for pattern in (*PAGES, *LINKED) for path in ROOT.glob(pattern) if path.is_file()})
    names = [path.relative_to(ROOT).as_posix() for path in found]
    return Files([*kept, *(File.generated(config, name, abs_src_path=str(ROOT / name)) for name in names)])
