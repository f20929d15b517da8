"""A rehearsal: a flag file that gives the same settings, numbers that add up, and nothing on disk."""

import dataclasses

import pytest
from absl import flags

from aux_rnn.config import from_flat, to_flat
from aux_rnn.datasets import split_sizes
from aux_rnn.plan import Plan
from experiments import command_line, main
from experiments.rehearsal import Timing, count_calls, rehearse, time_calls
from experiments.rehearsal_report import format_bytes, format_flags, format_modules, format_rehearsal, walk


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """What is shown of a run with an unusual value in every kind of setting, and where it would go."""
    patched = pytest.MonkeyPatch()
    patched.chdir(tmp_path_factory.mktemp("empty"))
    config = from_flat(
        dict(dataset="digits", image_size=4, data_dir="data here", embedding_size=3, hidden_size=5, head_sizes=(4, 3))
        | dict(decoder_sizes=(4,), decoder_head_sizes=(3,), segment_length=5, teacher_forcing=False, dropconnect=0.25)
        | dict(supervised_truncation="full", auxiliary_truncation=3, learning_rate=3e-7, batch_size=8, train_epochs=2)
        | dict(evaluate_test=True, auxiliary="both")
    )
    yield config, format_rehearsal(rehearse(config), "runs/x")
    patched.undo()


def test_what_is_shown_is_a_flag_file_of_the_same_settings(shown, tmp_path, monkeypatch):
    config, text = shown
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shown.flags").write_text(text)
    parsed = flags.FlagValues()
    command_line.define_settings(parsed)
    assert command_line.parse_words(["main.py", "--flagfile=shown.flags"], parsed) == []
    assert command_line.config_from_flags(parsed) == config


def test_every_line_fits_80_columns(shown):
    assert max(map(len, shown[1].splitlines())) <= 80


def test_nothing_is_written_and_no_data_is_needed(run, tmp_path, monkeypatch, tiny):
    monkeypatch.chdir(tmp_path)
    settings = {**to_flat(tiny), "dataset": "mnist", "data_dir": str(tmp_path / "none")}
    code, out, err = run("--mode=dry_run", *format_flags(from_flat(settings)))
    assert (code, err) == (0, "")
    assert "# steps       3 of pretraining, 6 of training" in out
    assert "# results     would go to runs/mnist-both-seed0" in out
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def run(capsys):
    flags.FLAGS.unparse_flags()
    flags.FLAGS.mark_as_parsed()

    def run_main(*arguments):
        code = main.main(main.parse_flags(["main.py", *arguments]))
        return code, *capsys.readouterr()

    return run_main


def test_modules_are_listed_before_what_is_in_them_with_its_sum():
    shapes = {"a/b/bias": [3], "a/b/kernel": [2, 3], "a/c": [4], "d/b/bias": [5]}
    assert list(walk(shapes)) == [
        (0, "a", None, 13),
        (1, "b", None, 9),
        (2, "bias", [3], 3),
        (2, "kernel", [2, 3], 6),
        (1, "c", [4], 4),
        (0, "d", None, 5),
        (1, "b", None, 5),
        (2, "bias", [5], 5),
    ]
    assert format_modules(shapes)[-1].split() == ["in", "all", "18"]


def test_calls_are_counted_as_a_run_makes_them(tiny):
    sizes = split_sizes(tiny.data)  # 24, 144 and 360 examples in batches of 8
    plan = Plan.of(tiny, 3)
    assert count_calls(tiny, plan, sizes) == {"pretrain": 3, "train": 6, "evaluate": 3 * 18 + 45}
    on_test = dataclasses.replace(tiny, run=dataclasses.replace(tiny.run, evaluate_test=True))
    assert count_calls(on_test, plan, sizes)["evaluate"] == 3 * (18 + 45)
    alone = dataclasses.replace(tiny, model=dataclasses.replace(tiny.model, auxiliary="none"))
    assert "pretrain" not in count_calls(alone, Plan.of(alone, 3), sizes)


def test_a_slow_program_is_called_twice_and_a_fast_one_some_times():
    slow = iter([0.0, 30.0, 30.0, 42.0])
    assert time_calls(lambda: 0, 100, now=lambda: next(slow)) == Timing(18.0, 12.0, 1, 100)
    fast = iter([0.0, 5.0, 5.0, 6.0, 6.0, 9.0, 9.0, 10.0, 10.0, 11.0, 11.0, 12.0])
    timing = time_calls(lambda: 0, 100, now=lambda: next(fast))
    assert timing == Timing(4.0, 1.0, 5, 100)
    assert timing.total() == 104.0


def test_bytes_are_written_with_a_unit():
    assert format_bytes(3 * 2**20) == "3.0 MiB"
    assert format_bytes(5 * 2**29) == "2.5 GiB"
