"""benchmark.py: mistakes on the command line, worker processes and their end, tables, and the real command."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import benchmark
import numpy as np
import pytest
from benchmarking import commands
from benchmarking import options as options_lib
from benchmarking.batches import make_batch
from benchmarking.commands import take_turns
from benchmarking.options import parse_options
from benchmarking.processes import Worker, WorkerError, worker_environment
from benchmarking.tables import WIDTH, format_records

from aux_rnn.config import Config, SequenceSpec, to_flat
from aux_rnn.settings import ConfigError, format_value

ROOT = Path(__file__).parent.parent
PROGRAM = str(ROOT / "experiments" / "benchmark.py")

TINY = [
    "--dataset=digits",
    "--image_size=4",
    "--auxiliary=none",
    "--embedding_size=4",
    "--hidden_size=6",
    "--batch_size=8",
]
TINY += ["--head_sizes=5", "--supervised_truncation=4"]
SMALL_PRODUCT = "--product_size=64"


@pytest.fixture
def run(capsys):
    """Runs the program in this process; returns the exit code, standard output and standard error."""

    def run_main(*arguments):
        code = benchmark.main(["benchmark.py", *arguments])
        return code, *capsys.readouterr()

    return run_main


def run_program(*arguments, cwd):
    """Runs the program as a user does."""
    command = [sys.executable, PROGRAM, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, check=False)


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT)}


MISTAKES = {
    "no command": ([], ["give one command of step, peer, lengths, linen"]),
    "unknown command": (["fly"], ["'fly': must be one of step, peer, lengths, linen"]),
    "stray word": (["step", "now"], ["'now': stray word"]),
    "unknown flag": (["step", "--pears=3"], ["pears"]),
    "not a setting": (["step", "--batch_size=many"], ["--batch_size=many: must be an integer from 1"]),
    "no such flag file": (["step", "--flagfile=nope.flags"], ["--flagfile=nope.flags: no such file", "cifar.flags"]),
    "no steps": (["step", "--steps=0"], ["--steps=0"]),
    "bad phase": (["step", "--phase=fly"], ["--phase=fly", "train|pretrain"]),
    "nothing to pretrain": (["step", "--auxiliary=none", "--phase=pretrain"], ["--phase=pretrain: must be train"]),
    "another command's flag": (["step", "--pairs=3"], ["--pairs: not with step, only with peer, linen"]),
    "one length": (["lengths", "--length=64"], ["--length: not with lengths, only with step, peer, linen"]),
    "bad lengths": (["lengths", "--lengths=64,many"], ["--lengths=64,many: must be positive integers"]),
    "length of nothing": (["lengths", "--lengths=0,64"], ["--lengths=0,64: must be positive integers"]),
    "no folder": (["step", "--output=/nonexistent/x.jsonl"], ["--output=/nonexistent/x.jsonl: must be a file in"]),
    "a folder": (["step", "--output=/"], ["--output=/: must be a file in"]),
    "peer of a cell": (["peer", "--encoder=gru"], ["--encoder=gru: must be lstm for the comparison with PyTorch"]),
    "peer of bfloat16": (
        ["peer", "--precision=bfloat16"],
        ["--precision=bfloat16: must be float32 for the comparison"],
    ),
    "peer of two anchors": (["peer", "--num_anchors=2"], ["--num_anchors=2: must be 1 for the comparison"]),
    "peer fed back": (["peer", "--noteacher_forcing"], ["--teacher_forcing=false: must be true for the comparison"]),
    "peer of layers": (["peer", "--decoder_sizes=4,5"], ["--decoder_sizes=4,5: must be layers of one size"]),
    "scan with scan": (["linen", "--recurrence=scan"], ["--recurrence=scan: must be auto or fused"]),
    "scan of a cell": (["linen", "--encoder=gru"], ["--encoder=gru: must be lstm"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_line_and_exit_code_2(mistake, run):
    arguments, expected = MISTAKES[mistake]
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    for part in expected:
        assert part in err


def test_a_setting_that_does_not_fit_the_length_is_refused_by_the_worker_in_one_line(run):
    code, out, err = run("step", *TINY, "--auxiliary=reconstruct", "--length=9", "--segment_length=10")
    assert (code, out) == (2, "")
    assert err == "error: --segment_length=10: must be at most 9 to reconstruct sequences of 9 elements (digits)\n"


def test_without_pytorch_one_line_says_how_to_install_it(run, monkeypatch):
    monkeypatch.setattr(options_lib.importlib.util, "find_spec", lambda name: None)
    code, _, err = run("peer", "--flagfile=cifar.flags")
    assert code == 2
    assert err == "error: peer: PyTorch is not installed; pip install '.[peer]' does so\n"


def test_help_names_commands_and_flags(run):
    code, out, _ = run("--help")
    assert code == 0
    for part in ("step", "peer", "lengths", "linen", "--length ", "--pairs", "--peer_huge_pages", "--output"):
        assert part in out


def test_a_flag_file_and_flags_of_both_kinds_are_read():
    options = parse_options(["benchmark.py", "lengths", "--flagfile=cifar.flags", "--lengths=64,32,64", "--seed=3"])
    assert options.lengths == (32, 64)
    assert options.config.data.dataset == "cifar10"
    assert options.config.run.seed == 3
    assert options.output is None


def test_the_program_itself_starts_no_jax():
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'experiments')!r}); import benchmark; print('jax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_batches_of_pixels_and_of_texts():
    pixels = make_batch(SequenceSpec(length=9, channels=3, num_classes=4), batch_size=5, seed=0)
    assert (pixels["inputs"].shape, pixels["inputs"].dtype) == ((5, 9, 1, 3), np.uint8)
    assert set(pixels) == {"inputs", "labels", "rows", "mask"}
    texts = make_batch(SequenceSpec(length=9, channels=1, num_classes=4, vocabulary_size=256), batch_size=50, seed=0)
    assert texts["inputs"].shape == (50, 9)
    assert set(texts["lengths"]) == {5, 6, 7, 8, 9}
    assert ((texts["inputs"] > 0).sum(axis=1) == texts["lengths"]).all()
    assert (texts["inputs"][:, -1] > 0).all()


def make_options(*arguments):
    return parse_options(["benchmark.py", *arguments])


def test_only_pytorch_is_given_its_switch_and_only_when_wanted(monkeypatch):
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "0")
    monkeypatch.setattr(options_lib.importlib.util, "find_spec", lambda name: name)
    as_it_is, without = make_options("peer"), make_options("peer", "--nopeer_huge_pages")
    assert worker_environment("peer", as_it_is, "")["THP_MEM_ALLOC_ENABLE"] == "1"
    assert "THP_MEM_ALLOC_ENABLE" not in worker_environment("peer", without, "")
    ours = worker_environment("ours", as_it_is, "/compiled")
    assert ours["JAX_COMPILATION_CACHE_DIR"] == "/compiled"


class Clockwork:
    """A worker whose steps take the seconds it is given."""

    def __init__(self, name, seconds, log):
        self.name, self.seconds, self.log = name, iter(seconds), log

    def ask(self, what):
        self.log.append(self.name)
        return next(self.seconds)


def test_turns_are_taken_pair_by_pair_and_each_begins_in_every_other(monkeypatch):
    """Of the two steps of a turn the second one counts."""
    monkeypatch.setattr(commands, "PAUSE", 0)
    log, lines = [], []
    workers = [Clockwork("a", [9, 1, 9, 2, 9, 3], log), Clockwork("b", [9, 4, 9, 5, 9, 6], log)]
    assert take_turns(workers, 3, lines.append) == [[1, 2, 3], [4, 5, 6]]
    assert "".join(log) == "aabb" + "bbaa" + "aabb"
    assert lines[-1] == "pair 3 of 3: a 3 s, b 6 s"


def test_a_worker_that_dies_says_how_and_what_it_said_last(tmp_path):
    options = make_options("step", *TINY)
    ended = r"aux_rnn: the process ended with exit code 1; the last it said: ModuleNotFoundError"
    with Worker("aux_rnn", "nothing", options, str(tmp_path)) as worker, pytest.raises(WorkerError, match=ended):
        worker.ask("prepare")
    with Worker("aux_rnn", "ours", options, str(tmp_path)) as worker:
        os.kill(worker._popen.pid, signal.SIGKILL)
        with pytest.raises(WorkerError, match="ended by SIGKILL, as the system does where memory runs out"):
            worker.ask("prepare")


def test_a_worker_goes_on_after_a_refusal_and_says_why_something_failed(tmp_path):
    options = make_options("step", *TINY)
    settings = to_flat(options.config)
    with Worker("aux_rnn", "ours", options, str(tmp_path)) as worker:
        with pytest.raises(ConfigError, match="--batch_size=6: must be a multiple of the 4 devices"):
            worker.ask("load", settings={**settings, "batch_size": 6}, length=0, phase="train")
        with pytest.raises(ConfigError, match="--recurrence=cudnn: must be auto, scan or fused on cpu devices"):
            worker.ask("load", settings={**settings, "recurrence": "cudnn"}, length=0, phase="train")
        assert worker.ask("load", settings=settings, length=20, phase="train")["spec"]["length"] == 20
        with pytest.raises(WorkerError, match=r"aux_rnn: AttributeError: .*'state'"):
            worker.ask("finish")


MACHINE = dict(
    cpu="A processor with a name as long as they are", cores=2, memory_gib=16, os="Linux of some kind, x86_64"
)


def make_up(benchmark_name, length=1024, **values):
    """A record with made-up numbers."""
    program = dict(
        name="aux_rnn",
        devices="2 x cpu",
        versions=dict(jax="0.10.2", jaxlib="0.10.2", flax="0.12.8"),
        variables=dict(XLA_FLAGS="--xla_force_host_platform_device_count=2", GLIBC_TUNABLES="glibc." + "x" * 90),
        seconds=[3.5, 3.0, 4.0],
        seconds_per_step=3.5,
        trace_seconds=1.0,
        compile_seconds=20.0,
        scratch_mib=800.0,
        gflop=467.3,
        peak_memory_mib=1500.0,
        loss=2.5,
    )
    return dict(
        benchmark=benchmark_name,
        spec=dict(length=length, channels=3, num_classes=10, vocabulary_size=0),
        phase="train",
        **{**program, **values},
        settings={name: format_value(value) for name, value in to_flat(Config()).items()},
        machine=MACHINE,
        commit="0123456789ab-dirty",
        date="2026-01-01T00:00:00+00:00",
    )


def test_the_tables_fit_80_columns_and_say_what_was_found():
    speeds = dict(examples_per_second=36.6, gflop_per_second=133.5, product_size=2048)
    speeds |= dict(product_gflop_per_second=[180.0, 178.0], product_share=0.746)
    step = format_records([make_up("step", **speeds)])
    assert "seconds a step       3.5 (3 to 4), 3 steps" in step
    assert "133.5, 75 % of a matrix product's" in step
    lengths = format_records(
        [
            make_up("lengths", **speeds),
            make_up("lengths", 16384, **{**speeds, "seconds_per_step": 5.036, "scratch_mib": 804.0}),
        ]
    )
    assert "scratch memory grows by 0.5 % from 1,024 to 16,384 steps" in lengths
    assert "0.1 s for every 1,000 steps more" in lengths
    own, other = make_up("peer"), make_up("peer", name="PyTorch", seconds=[7.0, 6.0, 6.0], seconds_per_step=6.0)
    del other["scratch_mib"]
    found = dict(programs=[own, other], ratios=[2.0, 2.0, 1.5], ratio=2.0, peer_huge_pages=True, notes=["a remark"])
    peer = format_records([make_up("peer", **found)])
    assert "PyTorch takes 2.00 (1.50 to 2.00) times the seconds of aux_rnn" in peer
    assert "in huge pages (THP_MEM_ALLOC_ENABLE=1)" in peer
    for table in (step, lengths, peer):
        assert max(map(len, table.splitlines())) <= WIDTH


def test_step_measures_one_step_on_all_devices(tmp_path):
    done = run_program("step", *TINY, "--steps=2", SMALL_PRODUCT, "--length=20", "--output=records.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "digits, 20 x 1, batch 8, lstm, auxiliary none, train" in done.stdout
    assert "seconds a step" in done.stdout
    (record,) = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert record["benchmark"] == "step"
    assert record["spec"]["length"] == 20
    assert record["devices"] == "4 x cpu"
    assert len(record["seconds"]) == 2
    # Per step: 4 gates of 6 units, from 6 units and the pixel. Head 6-5-10.
    encoder = 16 * 24 * (6 + 1) + 4 * 24 * (3 * 6 + 2 * 1)
    assert record["gflop"] == pytest.approx(2e-9 * 8 * (encoder + 3 * (6 * 5 + 5 * 10)))
    assert record["settings"]["hidden_size"] == 6
    assert "data_dir" not in record["settings"]
    for name in ("scratch_mib", "peak_memory_mib", "compile_seconds", "trace_seconds", "loss", "examples_per_second"):
        assert record[name] > 0, name
    assert all(speed > 0 for speed in record["product_gflop_per_second"])


def test_peer_takes_turns_with_pytorch(tmp_path):
    if importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed")
    done = run_program("peer", *TINY, "--pairs=3", "--output=records.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "PyTorch takes" in done.stdout
    (record,) = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert [program["name"] for program in record["programs"]] == ["aux_rnn", "PyTorch"]
    assert all(len(program["seconds"]) == 3 for program in record["programs"])
    assert record["programs"][1]["variables"]["THP_MEM_ALLOC_ENABLE"] == "1"
    assert len(record["ratios"]) == 3
    # Cross-entropy over ten classes at the start, in both.
    assert all(0.5 < program["loss"] < 5 for program in record["programs"])


def test_ctrl_c_ends_the_worker_too(tmp_path):
    command = [sys.executable, PROGRAM, "step", *TINY, SMALL_PRODUCT]
    popen = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True)
    try:
        assert popen.stderr.readline().startswith("16 steps a sequence")
        children = Path(f"/proc/{popen.pid}/task/{popen.pid}/children").read_text().split()
        popen.send_signal(signal.SIGINT)
        _, err = popen.communicate(timeout=20)
    finally:
        popen.kill()
        popen.wait()
    assert popen.returncode == 75
    assert err == "error: interrupted; what was not complete is lost\n"
    assert len(children) == 1
    deadline = time.monotonic() + 5
    while Path(f"/proc/{children[0]}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{children[0]}").exists()
