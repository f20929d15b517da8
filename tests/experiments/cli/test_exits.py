"""Tests of how a program reports an error."""

import pytest
from cli.exits import BAD_INPUT, report


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("seed=-1: must be an integer", "error: --seed=-1: must be an integer"),
        ("be scan with encoder=gru (seed=3)", "error: be scan with --encoder=gru (--seed=3)"),
        ("--seed=-1: must be an integer", "error: --seed=-1: must be an integer"),
        ("runs/seed=1/config.json: cannot be read", "error: runs/seed=1/config.json: cannot be read"),
        ("f: cannot be read (allow_pickle=False, port=443)", "error: f: cannot be read (allow_pickle=False, port=443)"),
        ("run tfds.builder('x', data_dir='D')", "error: run tfds.builder('x', data_dir='D')"),
    ],
)
def test_settings_are_written_as_flags(text, line, capsys):
    assert report(text, BAD_INPUT) == BAD_INPUT
    assert capsys.readouterr().err == line + "\n"
