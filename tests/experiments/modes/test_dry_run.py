"""A dry run: a flag file that gives the same settings, figures that add up, and nothing on disk."""

import pytest
from absl import flags
from cli import command_line, parsing
from modes.dry_run import format_flags

from aux_rnn.config.serialization import with_settings
from aux_rnn.training.sharding import CompiledStep


@pytest.mark.parametrize(("evaluate_test", "evaluated"), [(False, "2,750"), (True, "4,000")])
def test_a_dry_run_prints_a_flag_file_of_its_settings_needs_no_data_and_writes_nothing(
    evaluate_test, evaluated, run_main, tmp_path, monkeypatch, tiny
):
    compiled, lower = [], CompiledStep.lower

    def record(step, state, *arguments):
        compiled.extend(argument["inputs"].shape for argument in arguments if "inputs" in argument)
        return lower(step, state, *arguments)

    monkeypatch.setattr(CompiledStep, "lower", record)
    monkeypatch.chdir(tmp_path)
    # An unusual value in every kind of setting.
    unusual = dict(dataset="mnist", data_dir="data here", auxiliary="none", head_sizes=(4, 3), teacher_forcing=False)
    unusual |= dict(supervised_truncation="full", learning_rate=3e-7)
    config = with_settings(tiny, **unusual, evaluate_test=evaluate_test)
    code, out, err = run_main("--mode=dry_run", *format_flags(config))
    assert (code, err) == (0, "")
    assert "# steps       0 of pretraining, 6 of training" in out
    assert "# results     would go to runs/mnist-none-seed0" in out
    assert max(map(len, out.splitlines())) <= 80
    # Batches of two evaluations on 6,000 examples and one or two on 10,000.
    train, evaluate, whole = (line.split() for line in out.splitlines()[-4:-1])
    assert (train[6], evaluate[6]) == ("6", evaluated)
    seconds = float(train[2]) + sum(float(row[4]) * int(row[6].replace(",", "")) / 1000 for row in (train, evaluate))
    hours, minutes, rest = map(int, whole[-1].split(":"))
    assert 3600 * hours + 60 * minutes + rest == pytest.approx(seconds, abs=1)  # up to rounding
    assert list(tmp_path.iterdir()) == []
    # Images, as in training, which then compiles nothing: all 24 and a batch more to train on, batches to evaluate.
    assert set(compiled) == {(32, 16), (4, 2, 4, 4, 1)}
    (tmp_path / "shown.flags").write_text(out)
    parsed = flags.FlagValues()
    parsing.define_settings(parsing.SETTINGS, parsed)
    assert parsing.parse_words(["main.py", "--flagfile=shown.flags"], parsed) == []
    assert command_line.config_from_flags(parsed) == config
