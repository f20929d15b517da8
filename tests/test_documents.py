"""The documents: what they link is there, their commands are understood, and those that take seconds are run."""

import functools
import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import benchmark
import compare
import own_data
import pytest
import reproduce
import yaml
from absl import flags
from cli import parsing

import aux_rnn
from aux_rnn.config.fields import ConfigError
from experiments import main

ROOT = Path(__file__).parent.parent
QUICKSTART = ROOT / "docs/quickstart.ipynb"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md")])
LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)")
NAMED = re.compile(r"\[`(\w+(?:\.\w+)+)`\]\(\.\./aux_rnn/([\w/]+)\.py\)")
SHELL = re.compile(r"```sh\n(.*?)```", re.DOTALL)
INLINE = re.compile(r"`((?:[A-Z_]+=\S+ )*(?:\./launch\.sh|python experiments/)[^`]*)`")
LEAVES_OUT = re.compile(r"\.\.\.|\b(N|NAME|COMMAND)\b|sh (reproduce|tpu)$")  # the reader is to put something in


def read_commands(document: Path) -> list[str]:
    """The commands in its ```sh blocks and in its text, without comments, each on one line."""
    text = document.read_text()
    lines = "\n".join(SHELL.findall(text)).replace("\\\n", " ").splitlines()
    lines += [span.replace("\n", " ") for span in INLINE.findall(text) if not LEAVES_OUT.search(span)]
    parts = [part for line in lines for part in re.split(r" && |; ", line.split(" #")[0].split(" > ")[0])]
    return [" ".join(part.split()) for part in parts if part.strip()]


# The help of each program, which is its docstring, shows commands as well.
HELP = [line for program in (main, benchmark, reproduce, compare, own_data) for line in program.__doc__.splitlines()]
SHOWN = [" ".join(line.split(" #")[0].split()) for line in HELP if line.startswith("  python ")]
COMMANDS = sorted({*SHOWN, *(command for document in DOCUMENTS for command in read_commands(document))})


def parse_main(arguments: list[str]) -> None:
    flags.FLAGS.unparse_flags()
    if arguments == ["--helpshort"]:  # of absl's app, which runs it below
        return
    assert parsing.parse_words(["main.py", *arguments], flags.FLAGS) == []
    main.command_line.config_from_flags()


def parse_benchmark(arguments: list[str]) -> None:
    try:
        benchmark.parse(["benchmark.py", *arguments])
    except ConfigError as error:
        assert "PyTorch is not installed" in str(error)  # noqa: PT017  that it is not says nothing of the command


def parse_local(arguments: list[str]) -> None:
    assert int(arguments[0]) > 0
    parse_main(arguments[1:])


def parse_tpu(arguments: list[str]) -> None:
    name, *others = arguments
    subprocess.run([str(ROOT / "experiments/launch/tpu.sh"), name, "--dry_run", *others], check=True)
    parse_main(others[others.index("--") + 1 :])


def parse_test(arguments: list[str]) -> None:
    assert all(a in ("--slow", "--all", "--version", "-m", "faults") or (ROOT / a).exists() for a in arguments)


def parse_reproduce(arguments: list[str]) -> None:
    reproduce.parse_options(["reproduce.py", *arguments])


PARSERS = {
    "train": parse_main,
    "local": parse_local,
    "tpu": parse_tpu,
    "reproduce": parse_reproduce,
    "benchmark": parse_benchmark,
    "check-accelerator": lambda arguments: parse_reproduce(["table2", *arguments[1:]]),
    "install": lambda arguments: None,
    "test": parse_test,
    "experiments/main.py": parse_main,
    "experiments/benchmark.py": parse_benchmark,
    "experiments/reproduce.py": parse_reproduce,
}
SLURM_JOB = "experiments/launch/slurm.sh"
OTHERS = (".ci/run", "ruff", "mypy", "mkdocs")


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_understood(command):
    words = shlex.split(command)
    while re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    if words[0].removeprefix(".venv/bin/") in OTHERS:
        return
    if words[0] == "sbatch":
        assert (ROOT / SLURM_JOB).exists()
        parse_main(words[words.index(SLURM_JOB) + 1 :])
        return
    assert words[0] in ("python", "./launch.sh")
    if words[1] in PARSERS:
        PARSERS[words[1]](words[2:])
    else:
        assert (ROOT / words[1]).exists(), command


def run(folder: Path, *words: str, code: int = 0) -> str:
    """Runs a Python program as a reader would, but in another folder, and returns what it prints."""
    variables = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    variables |= {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
    done = subprocess.run([sys.executable, *words], cwd=folder, env=variables, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stdout


def test_help_lists_every_setting(tmp_path):
    shown = run(tmp_path, str(ROOT / "experiments/main.py"), "--helpshort", code=1)
    assert all(f"--{name}" in shown or f"--[no]{name}" in shown for name in ("auxiliary", "teacher_forcing", "workdir"))


@pytest.mark.slow
def test_the_minute_on_a_laptop(tmp_path):
    shown = run(tmp_path, str(ROOT / "experiments/main.py"), "--flagfile=digits.flags")
    (accuracy,) = re.findall(r"^test .*accuracy ([\d.]+) %", shown, re.MULTILINE)
    assert float(accuracy) > 85


@pytest.mark.slow
def test_own_data_compares_both_networks(tmp_path):
    shown = run(tmp_path, str(ROOT / "experiments/own_data.py"), "mine")
    _, r_lstm = map(float, re.findall(r"test accuracy ([\d.]+) %", shown))  # the LSTM: 19 to 71 %, by the seed
    assert r_lstm > 70
    assert (tmp_path / "mine/reconstruct/report.html").exists()
    assert (tmp_path / "mine/reconstruct/plots/reconstructions-840.png").exists()


def read_code(notebook: Path) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]


@pytest.mark.slow
def test_the_quickstart_runs(tmp_path):
    program = "\n".join("".join(cell["source"]) for cell in read_code(QUICKSTART))
    shown = run(tmp_path, "-c", program)
    _, r_lstm = map(float, re.findall(r"test accuracy ([\d.]+)", shown))  # see above
    assert r_lstm > 0.7
    assert f"accuracy {r_lstm:.3f}" in shown.partition("KiB")[2]


def test_the_quickstart_shows_what_its_cells_print():
    for cell in read_code(QUICKSTART):
        shows_something = any(word in "".join(cell["source"]) for word in ("print(", "plt.show("))
        assert bool(cell["outputs"]) == shows_something
        assert not [output for output in cell["outputs"] if output.get("name") == "stderr" or "ename" in output]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_are_linked_are_there(document):
    targets = [target for target in LINK.findall(document.read_text()) if not target.startswith(("http", "mailto"))]
    assert [target for target in targets if not (document.parent / target).exists()] == []


def test_functions_that_the_method_names_are_in_their_files():
    named = NAMED.findall((ROOT / "docs/method.md").read_text())
    assert len(named) > 25
    for name, file in named:
        stem, *attributes = name.split(".")
        module = f"aux_rnn.{file.replace('/', '.')}"
        found = functools.reduce(getattr, attributes, importlib.import_module(module))
        assert stem == Path(file).name
        assert found.__module__ == module, name


def test_the_reference_has_every_public_name():
    listed = re.findall(r"^::: (\S+)$", (ROOT / "docs/reference.md").read_text(), re.MULTILINE)
    homes = [f"{getattr(aux_rnn, name).__module__}.{name}" for name in aux_rnn.__all__]
    assert sorted(listed) == sorted(homes)


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == aux_rnn.__version__
    assert f"## {aux_rnn.__version__}" in (ROOT / "CHANGELOG.md").read_text()
