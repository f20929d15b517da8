"""A dry run: a flag file that gives the same settings, figures that add up, and nothing on disk."""

import dataclasses

import pytest
from absl import flags
from cli import command_line, parsing
from modes.dry_run import DryRun, Planned, format_dry_run, format_flags

from aux_rnn.config.serialization import from_flat, with_settings
from aux_rnn.datasets import sequence_spec, split_sizes
from aux_rnn.training.compilation import CompiledPhase
from aux_rnn.training.plan import Plan
from aux_rnn.training.sharding import CompiledStep

SIZES = dict(dataset="digits", image_size=4, train_examples=24, batch_size=8, pretrain_epochs=1, train_epochs=2)


def make_dry_run(**changes):
    config = from_flat({**SIZES, "segment_length": 5, **changes})
    compiled = {"pretrain": CompiledPhase(2.0, 3 * 2**20), "train": CompiledPhase(3.0, 5 * 2**29)}
    sizes = split_sizes(config.data)  # 24, 144 and 360 examples in batches of 8
    planned = Planned(sequence_spec(config.data), sizes, Plan.of(config, 3), None)
    shapes = {"encoder/cell/bias": [3], "encoder/cell/kernel": [2, 3]}
    return DryRun(config, planned, shapes, 10**6, 2**22, compiled, {"pretrain": 10.0, "train": 20.0, "evaluate": 1.0})


def test_the_figures_add_up():
    found = make_dry_run()
    text = format_dry_run(found, "runs/x")
    assert found.evaluations() == 3 * 18 + 45
    assert make_dry_run(evaluate_test=True).evaluations() == 3 * (18 + 45)
    assert text.split("total", 1)[1].split()[0] == "9"
    assert "3.0 MiB on each device during a step" in text
    assert "4.0 MiB of training examples on each device" in text
    assert "2.5 GiB on each device during a step" in text
    # 3 steps of 10 s, 6 of 20 s, 99 evaluated batches of 1 s, and 5 s of compiling.
    assert text.split("the run", 1)[1].split()[0] == "0:04:14"


@pytest.mark.parametrize(("pretrain", "train", "every"), [(3, 6, 3), (0, 7, 3), (4, 5, 3), (2, 0, 5), (7, 8, 10)])
def test_evaluations_are_counted_without_a_loop_over_all_steps(pretrain, train, every):
    plan = Plan(3, pretrain, train, log_every=1, evaluate_every=every, checkpoint_every=1)
    steps = range(1, plan.total_steps + 1)
    assert plan.count_evaluations() == sum(plan.should_evaluate(step) for step in steps)
    largest = dataclasses.replace(plan, train_steps=2**31 - 10)
    assert largest.count_evaluations() > 10**8


def test_a_dry_run_prints_a_flag_file_of_its_settings_needs_no_data_and_writes_nothing(
    run_main, tmp_path, monkeypatch, tiny
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
    config = with_settings(tiny, **unusual)
    code, out, err = run_main("--mode=dry_run", *format_flags(config))
    assert (code, err) == (0, "")
    assert "# steps       0 of pretraining, 6 of training" in out
    assert "# results     would go to runs/mnist-none-seed0" in out
    assert max(map(len, out.splitlines())) <= 80
    assert list(tmp_path.iterdir()) == []
    # Images, as in training, which then compiles nothing: all 24 and a batch more to train on, batches to evaluate.
    assert set(compiled) == {(32, 16), (4, 2, 4, 4, 1)}
    (tmp_path / "shown.flags").write_text(out)
    parsed = flags.FlagValues()
    parsing.define_settings(parsing.SETTINGS, parsed)
    assert parsing.parse_words(["main.py", "--flagfile=shown.flags"], parsed) == []
    assert command_line.config_from_flags(parsed) == config
