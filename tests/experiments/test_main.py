"""The command line as a user meets it: flag files, and one clear line for every mistake."""

import functools

import pytest
from cli import command_line
from cli.flag_files import FLAG_FILES
from official import write_mnist
from properties import assert_one_line

from aux_rnn.config.fields import format_value
from aux_rnn.config.serialization import to_flat, to_json
from aux_rnn.config.spec import check_segment
from aux_rnn.datasets import sequence_spec


@pytest.fixture
def run(run_main, data_dir):
    return functools.partial(run_main, f"--data_dir={data_dir}")


def parse(*arguments):
    command_line.parse(["main.py", *arguments])
    return command_line.config_from_flags()


@pytest.mark.parametrize("name", sorted(path.name for path in FLAG_FILES.glob("*.flags")))
def test_every_flag_file_says_what_it_is_for_and_fits_its_data(name):
    lines = (FLAG_FILES / name).read_text().splitlines()
    opening = " ".join(line for line in lines[: lines.index("")] if line.startswith("#"))
    assert [word for word in ("Intent:", "Cost:", "Expect:") if word not in opening] == []
    config = parse(f"--flagfile={name}")
    check_segment(config.model, sequence_spec(config.data))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits.flags", "mnist.flags"])
def test_a_flag_file_trains_two_steps_at_its_own_lengths(name, run_main, tmp_path):
    """The other files differ from these in the data and the sizes only."""
    write_mnist(tmp_path / "manual")
    folders = [f"--workdir={tmp_path}/run", f"--data_dir={tmp_path}/data", f"--manual_dir={tmp_path}/manual"]
    small = ["--batch_size=4", "--train_examples=8", "--pretrain_epochs=0", "--train_epochs=1", "--nopictures"]
    sizes = ["--embedding_size=4", "--hidden_size=4", "--decoder_sizes=4,4"]
    code, out, err = run_main(f"--flagfile={name}", *folders, "--allow_partial", *small, *sizes)
    assert code == 0, err
    assert "complete after 2 steps" in out


@pytest.mark.usefixtures("shared_steps")
def test_evaluation_of_a_run_from_the_command_line(run, tiny, tmp_path):
    settings = [f"--{name}={format_value(value)}" for name, value in to_flat(tiny).items()]
    code, trained, err = run(*settings, f"--workdir={tmp_path}/run")
    assert code == 0, err
    code, evaluated, err = run("--mode=eval", f"--workdir={tmp_path}/run")
    assert code == 0, err
    assert "evaluated after 9 steps" in evaluated
    scores = [line for line in trained.splitlines() if line.startswith(("validation", "test"))]
    assert len(scores) == 2
    assert all(line in evaluated for line in scores)


def test_flag_files_are_found_from_any_folder_and_the_working_directory_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = parse("--dataset=cifar10", "--flagfile", "mnist.flags", "--seed=7")  # the last one counts
    assert (config.data.dataset, config.run.seed) == ("mnist", 7)
    (tmp_path / "mnist.flags").write_text("// mine\n\n# an included one\n--flagfile=base.flags\n--seed=3\n")
    (tmp_path / "base.flags").write_text("--hidden_size=17\n--noteacher_forcing\n")
    config = parse("--flagfile=mnist.flags")
    assert (config.run.seed, config.model.hidden_size, config.model.teacher_forcing) == (3, 17, False)


DIGITS = "--dataset=digits --segment_length=10 --batch_size=8"
RECALL = "--mode=prepare --dataset=recall"

# Arguments, and the essential part of the line about them.
MISTAKES = [
    ("--learning_rat=1", "Did you mean: learning_rate"),
    ("--teacher_forcing False", "'False': unexpected positional argument; write flags as --name=value"),
    ("--noteacher_forcing=3", "--noteacher_forcing=3 does not take an argument"),
    ("--teacher_forcing=maybe", "--teacher_forcing=maybe: must be true or false"),
    ("--logger_levels=x:y", "Unknown level: 'y'"),  # a flag of absl
    ("--flagfile=nope.flags", "--flagfile=nope.flags: no such file in"),
    ("--flagfile=~nobody-here/x.flags", "--flagfile=~nobody-here/x.flags: no such file in"),
    ("--flagfile=" + "x" * 300, "no such file in"),
    ("--flagfile=circle.flags", "--flagfile=circle.flags: includes itself (circle.flags -> circle.flags)"),
    ("--flagfile=bare.flags", "bare.flags: the line 'batch_size=3' is no flag"),
    ("--flagfile=spaced.flags", "batch_size 3"),
    ("--flagfile=zeros.flags", "zeros.flags: the line '\\x00"),
    ("--batch_size=many", "--batch_size=many: must be an integer from 1 to 2147483647"),
    ("--supervised_truncation=-1", "--supervised_truncation=-1: must be an integer from 0 to 2147483647, or 'full'"),
    ("--head_sizes=3,,4", "--head_sizes=3,,4: must be positive integers separated by commas"),
    ("--mode=fly", "--mode=fly: must be one of train, eval, predict, reconstruct, report, dry_run, prepare"),
    ("--checkpoint=first", "--checkpoint=first: must be latest, best or the step"),
    ("--checkpoint=best", "--checkpoint=best: must be latest, or left out, with --mode=train"),
    ("--workdir=abc://bucket/run", "--workdir=abc://bucket/run: cannot be used"),
    ("--workdir=runs/\udcff\udcfe", "--workdir=runs/\\udcff\\udcfe: must be text in UTF-8"),
    ("--dataset=tfds:svhn_cropped", "--dataset=tfds:svhn_cropped: not prepared in"),
    (f"{RECALL} --sequence_length=2147483647", "--sequence_length=2147483647: must be smaller"),
    (f"{DIGITS} --segment_length=65", "--segment_length=65: must be at most 64 to reconstruct sequences of 64"),
    (f"{DIGITS} --batch_size=6", "--batch_size=6: must be a multiple of the 4"),
    (f"{DIGITS} --train_examples=5000", "--train_examples=5000: "),
    ("--dataset=mnist --data_dir=empty --manual_dir=/nonexistent", "--manual_dir=/nonexistent"),
    (f"{DIGITS} --train_epochs=2147483647", "--train_epochs=2147483647: must be fewer"),
    (f"{DIGITS} --hidden_size=1000000000", "--hidden_size=1000000000: must be smaller: the parameters"),
    (f"{DIGITS} --decoder_sizes=4,1000000000", "--decoder_sizes=4,1000000000: must be smaller: the parameters"),
    ("--mode=eval --workdir=/nonexistent/run", "/nonexistent/run: holds no run"),
]


@pytest.mark.parametrize(("arguments", "part"), MISTAKES, ids=range(len(MISTAKES)))
def test_a_mistake_gets_one_line_and_exit_code_2_before_any_work(arguments, part, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "circle.flags").write_text("--flagfile=circle.flags\n")
    (tmp_path / "bare.flags").write_text("batch_size=3\n")
    (tmp_path / "spaced.flags").write_text("--batch_size 3\n")
    (tmp_path / "zeros.flags").write_bytes(bytes(1_000))
    code, out, err = run(*arguments.split(" "))
    assert (code, out) == (2, "")
    *announcement, line = err.splitlines()
    assert not announcement or "must be smaller" in part  # memory is checked after the run is announced
    assert line.startswith("error: ")
    assert_one_line(line.removeprefix("error: "), part)
    assert not list(tmp_path.rglob("*.jsonl"))


def test_another_configuration_on_a_used_workdir_names_the_difference(run, tmp_path):
    sizes = ["--hidden_size=4", "--decoder_sizes=4", "--train_examples=8"]
    arguments = [*DIGITS.split(), *sizes, f"--workdir={tmp_path}"]
    (tmp_path / "config.json").write_text(to_json(parse(*arguments)))
    code, _, err = run(*arguments, "--num_anchors=2")
    assert code == 2
    assert "num_anchors: 1 -> 2" in err
