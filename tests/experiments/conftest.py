"""Runs main.py in the process of the tests."""

import pytest
from absl import flags

from experiments import main


def reset_flags():
    flags.FLAGS.unparse_flags()
    flags.FLAGS.mark_as_parsed()


@pytest.fixture(autouse=True)
def fresh_flags():
    """Resets the flags of main.py before and after a test."""
    reset_flags()
    yield
    reset_flags()


@pytest.fixture
def run_main(capsys):
    """Runs main.py on arguments; returns the exit code, standard output and standard error."""

    def run(*arguments):
        reset_flags()
        try:
            code = main.main(main.parse_flags(["main.py", *arguments]))
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run
