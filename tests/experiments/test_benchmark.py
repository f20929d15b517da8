"""benchmark.py: mistakes on the command line, worker processes, tables, and the real command."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import benchmark
import numpy as np
import pytest
from benchmark import format_records, parse
from benchmarking import measurements
from benchmarking.measurements import Worker, kill_workers, make_batch

from aux_rnn.config.fields import ConfigError
from aux_rnn.config.serialization import to_flat
from aux_rnn.config.settings import Config
from aux_rnn.config.spec import SequenceSpec

ROOT = Path(__file__).parents[2]
PROGRAM = str(ROOT / "experiments" / "benchmark.py")
TINY = ["--dataset=digits", "--image_size=4", "--auxiliary=none", "--embedding_size=4", "--hidden_size=6"]
TINY += ["--batch_size=8", "--head_sizes=5", "--supervised_truncation=4"]


@pytest.fixture
def run(capsys):
    """Runs the program in this process; returns the exit code, standard output and standard error."""

    def run_main(*arguments):
        code = benchmark.main(["benchmark.py", *arguments])
        return code, *capsys.readouterr()

    return run_main


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT)}


MISTAKES = {
    "no command": ([], "give one command of step, peer, lengths, scan"),
    "unknown flag": (["step", "--pears=3"], "pears"),
    "not a setting": (["step", "--batch_size=many"], "--batch_size=many: must be an integer from 1"),
    "no such flag file": (["step", "--flagfile=nope.flags"], "--flagfile=nope.flags: no such file"),
    "no steps": (["step", "--pairs=0"], "--pairs=0: must be an integer from 1"),
    "flag of another command": (["step", "--lengths=3"], "--lengths: not with the command step"),
    "zero length": (["lengths", "--lengths=0,64"], "--lengths=0,64: must be positive integers"),
    "no folder": (["step", "--output=/nonexistent/x.jsonl"], "--output=/nonexistent/x.jsonl: must be a file in"),
    "a folder": (["step", "--output=/"], "--output=/: must be a file in a folder that exists"),
    "peer of texts": (
        ["peer", "--dataset=digits_text", "--optimizer=rmsprop"],
        "--dataset=digits_text: must be a data",
    ),
    "peer fed back": (["peer", "--noteacher_forcing"], "--teacher_forcing=false: must be true for peer"),
    "peer of layers": (["peer", "--decoder_sizes=4,5"], "--decoder_sizes=4,5: must be layers of one size"),
    "scan of a cell": (["scan", "--encoder=gru"], "--encoder=gru: must be lstm for scan"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_line_and_exit_code_2(mistake, run):
    arguments, expected = MISTAKES[mistake]
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n"), err.startswith("error: ")) == (2, "", 1, True)
    assert expected in err


def test_a_program_that_dies_gets_one_line(run, monkeypatch):
    def die(self, method, *arguments):
        raise BrokenProcessPool

    monkeypatch.setattr(measurements.Worker, "ask", die)
    assert run("step", *TINY)[::2] == (1, "error: a measured program died; the system kills it if memory runs out\n")


def test_without_pytorch_one_line_says_how_to_install_it(run, monkeypatch):
    monkeypatch.setattr(benchmark.importlib.util, "find_spec", lambda name: None)
    code, _, err = run("peer", "--flagfile=cifar.flags")
    assert code == 2
    assert "PyTorch is not installed; pip install '.[peer]'" in err


def test_a_flag_file_and_flags_of_both_kinds_are_read():
    words = ["lengths", "--flagfile=cifar.flags", "--lengths=64,32,64", "--seed=3"]
    command, config, options = parse(["benchmark.py", *words])
    assert (command, options.lengths, options.output) == ("lengths", (64, 32, 64), "")
    assert (config.data.dataset, config.run.seed) == ("cifar10", 3)


def test_batches_of_pixels_and_of_texts():
    pixels = make_batch(SequenceSpec(length=9, channels=3, num_classes=4), 5)
    assert (pixels["inputs"].shape, pixels["inputs"].dtype) == ((5, 9, 3), np.uint8)
    assert set(pixels) == {"inputs", "labels", "rows", "mask"}
    texts = make_batch(SequenceSpec(length=9, channels=1, num_classes=4, vocabulary_size=256), 50)
    assert set(texts["lengths"]) == {5, 6, 7, 8, 9}
    assert ((texts["inputs"] > 0).sum(axis=1) == texts["lengths"]).all()
    assert (texts["inputs"][:, -1] > 0).all()


def test_only_pytorch_gets_its_switch_for_huge_pages(monkeypatch):
    monkeypatch.delenv("THP_MEM_ALLOC_ENABLE", raising=False)
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    own, other = Worker("aux_rnn").environment, Worker("PyTorch", "pytorch").environment
    kill_workers()
    names = ("GLIBC_TUNABLES", "THP_MEM_ALLOC_ENABLE")
    assert [name in own for name in names] == [True, False]
    assert [name in other for name in names] == [False, True]


class Clockwork:
    """A worker whose steps take the given seconds."""

    def __init__(self, name, seconds, log):
        self.name, self.seconds, self.log = name, iter(seconds), log

    def ask(self, method):
        self.log.append(self.name)
        return next(self.seconds)


def test_turns_are_taken_in_alternating_order(monkeypatch, capsys):
    """The second of the two steps of a turn counts."""
    monkeypatch.setattr(measurements, "PAUSE", 0)
    log = []
    workers = [Clockwork("a", [9, 1, 9, 2, 9, 3], log), Clockwork("b", [9, 4, 9, 5, 9, 6], log)]
    assert measurements.interleave_steps(workers, 3) == [[1, 2, 3], [4, 5, 6]]
    assert "".join(log) == "aabb" + "bbaa" + "aabb"
    assert capsys.readouterr().err.endswith("3 of 3: a 3 s, b 6 s\n")


def test_a_worker_continues_after_a_refusal_and_its_death_is_noticed():
    _, odd, _ = parse(["benchmark.py", "step", *TINY, "--batch_size=6"])
    _, long, _ = parse(["benchmark.py", "step", *TINY, "--auxiliary=reconstruct", "--segment_length=10"])
    spec, worker = SequenceSpec(length=9, channels=1, num_classes=10), Worker("aux_rnn")
    with pytest.raises(ConfigError, match="--batch_size=6: must be a multiple of the 4 devices"):
        worker.ask("prepare", odd, spec, {})
    with pytest.raises(ConfigError, match="--segment_length=10: must be at most 9 to reconstruct sequences of 9 ele"):
        worker.ask("prepare", long, spec, {})
    kill_workers()
    with pytest.raises(BrokenProcessPool):
        worker.ask("step")


def make_record(length, **other):
    """A record with made-up numbers, of one program or two."""
    program = dict(name="aux_rnn", devices="2 x cpu", versions=dict(jax="0.10.2", jaxlib="0.10.2", flax="0.12.8"))
    program |= dict(variables=dict(GLIBC_TUNABLES="glibc"), seconds=[3.5, 3.0, 4.0], seconds_per_step=3.5)
    program |= dict(compile_seconds=20.0, scratch_mib=800.0, gflop=467.3, peak_memory_mib=1500.0, loss=2.5)
    program |= dict(product_gflop_per_second=178.0)
    cpu = "A processor with a name as long as they are"
    machine = dict(cpu=cpu, cores=2, memory_gib=16, os="Linux of some kind, x86_64", vector_extensions=["AVX2"])
    spec = dict(length=length, channels=3, num_classes=10, vocabulary_size=0)
    common = ("versions", "variables", "devices", "seconds", "peak_memory_mib", "loss")
    programs = [program, *([{**{name: program[name] for name in common}, **other}] if other else [])]
    return dict(spec=spec, settings=to_flat(Config()), machine=machine, commit="0123456789ab-dirty", programs=programs)


def test_tables_show_the_results():
    lengths = format_records([make_record(length) | dict(ratios=[]) for length in (1024, 16384)])
    rows = [line.split() for line in lengths.splitlines()[1:3]]
    cells = ["3.5", "3", "4", "0.7501", "20", "800", "1500", "2.5"]
    assert rows == [["aux_rnn", "1024", *cells], ["aux_rnn", "16384", *cells]]
    other = dict(name="PyTorch", seconds_per_step=6.0, notes=["a remark"])
    peer = format_records([make_record(1024, **other) | dict(ratios=[2.0, 2.0, 1.5])])
    assert "PyTorch takes 2.00 (1.50 to 2.00) times the seconds of aux_rnn" in peer
    assert peer.splitlines()[2].split() == ["PyTorch", "1024", "6", "3", "4", "-", "-", "-", "1500", "2.5"]
    assert max(len(line) for text in (lengths, peer) for line in text.splitlines()) <= 80
    assert "a remark" in peer
    assert ", AVX2, " in lengths


def measure(folder, *arguments):
    """Runs the program as a user does; returns its standard output and its records."""
    command = [sys.executable, PROGRAM, *arguments, *TINY, "--output=records.jsonl"]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_lengths_are_measured_on_all_devices(tmp_path):
    shown, records = measure(tmp_path, "lengths", "--pairs=2", "--lengths=20,24")
    assert [line.split()[:2] for line in shown.splitlines()[1:3]] == [["aux_rnn", "20"], ["aux_rnn", "24"]]
    assert [record["spec"]["length"] for record in records] == [20, 24]
    assert records[0]["settings"]["hidden_size"] == 6
    assert "data_dir" not in records[0]["settings"]
    (program,) = records[0]["programs"]
    assert (program["devices"], len(program["seconds"])) == ("4 x cpu", 2)
    # Per step: 4 gates of 6 units, from 6 units and the pixel. Head 6-5-10.
    encoder = 16 * 24 * (6 + 1) + 4 * 24 * (3 * 6 + 2 * 1)
    assert program["gflop"] == pytest.approx(2e-9 * 8 * (encoder + 3 * (6 * 5 + 5 * 10)))
    for name in ("scratch_mib", "peak_memory_mib", "compile_seconds", "loss", "product_gflop_per_second"):
        assert program[name] > 0, name


@pytest.mark.slow
@pytest.mark.parametrize(("command", "name"), [("peer", "PyTorch"), ("scan", "nn.scan")])
def test_programs_are_compared_in_turns(command, name, tmp_path):
    if command == "peer":
        pytest.importorskip("torch")
    shown, (record,) = measure(tmp_path, command, "--pairs=2")
    assert f"{name} takes" in shown
    assert [program["name"] for program in record["programs"]] == ["aux_rnn", name]
    assert all(len(program["seconds"]) == len(record["ratios"]) == 2 for program in record["programs"])
    # Cross-entropy over ten classes at the start, in both.
    assert all(0.5 < program["loss"] < 5 for program in record["programs"])


@pytest.mark.slow
def test_only_the_worker_imports_jax_and_an_interruption_ends_it_as_well(tmp_path):
    command = [sys.executable, PROGRAM, "step", *TINY]
    popen = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True)
    try:
        assert popen.stderr.readline().startswith("compiling for 16 steps, ")
        assert "jaxlib" not in Path(f"/proc/{popen.pid}/maps").read_text()
        children = Path(f"/proc/{popen.pid}/task/{popen.pid}/children").read_text().split()
        assert any("jaxlib" in Path(f"/proc/{child}/maps").read_text() for child in children)
        popen.send_signal(signal.SIGINT)
        _, err = popen.communicate(timeout=60)
    finally:
        popen.kill()
        popen.wait()
    assert popen.returncode == 75
    assert "error: interrupted\n" in err
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{child}").exists() for child in children)
