"""benchmark.py: mistakes on the command line, worker processes, tables, and the real command."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from unittest.mock import Mock

import benchmark
import numpy as np
import pytest
from benchmark import format_records, parse
from benchmarking import measurements
from benchmarking.measurements import Worker, kill_workers, make_batch

from aux_rnn.config.fields import ConfigError
from aux_rnn.config.spec import SequenceSpec

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
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


MISTAKES = [
    ([], "give one command of step, peer, lengths, scan"),
    (["step", "--pears=3"], "pears"),
    (["step", "--batch_size=many"], "--batch_size=many: must be an integer from 1"),
    (["step", "--flagfile=nope.flags"], "--flagfile=nope.flags: no such file"),
    (["step", "--pairs=0"], "--pairs=0: must be an integer from 1"),
    (["step", "--lengths=3"], "--lengths: not with the command step"),
    (["lengths", "--lengths=0,64"], "--lengths=0,64: must be positive integers"),
    (["step", "--output=/nonexistent/x.jsonl"], "--output=/nonexistent/x.jsonl: must be a file in"),
    (["step", "--output=/"], "--output=/: must be a file in a folder that exists"),
    (["peer", "--dataset=digits_text", "--optimizer=rmsprop"], "--dataset=digits_text: must be a data"),
    (["peer", "--noteacher_forcing"], "--teacher_forcing=false: must be true for peer"),
    (["peer", "--decoder_sizes=4,5"], "--decoder_sizes=4,5: must be layers of one size"),
    (["scan", "--encoder=gru"], "--encoder=gru: must be lstm for scan"),
]


@pytest.mark.parametrize(("arguments", "expected"), MISTAKES, ids=range(len(MISTAKES)))
def test_a_mistake_gets_one_line_and_exit_code_2(arguments, expected, run):
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


def test_a_batch_of_texts_is_padded_at_the_start_up_to_half_of_its_length():
    texts = make_batch(SequenceSpec(length=9, channels=1, num_classes=4, vocabulary_size=256), 50)
    assert set(texts["lengths"]) == {5, 6, 7, 8, 9}
    np.testing.assert_array_equal(texts["inputs"] > 0, np.arange(9) >= 9 - texts["lengths"][:, None])


def test_only_pytorch_gets_its_switch_for_huge_pages(monkeypatch):
    monkeypatch.delenv("THP_MEM_ALLOC_ENABLE", raising=False)
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    own, other = Worker("aux_rnn").environment, Worker("PyTorch", "pytorch").environment
    kill_workers()
    names = ("GLIBC_TUNABLES", "THP_MEM_ALLOC_ENABLE")
    assert [name in own for name in names] == [True, False]
    assert [name in other for name in names] == [False, True]


def test_turns_are_taken_in_alternating_order(monkeypatch, capsys):
    """The second of the two steps of a turn counts."""
    monkeypatch.setattr(measurements, "PAUSE", 0)
    workers = Mock()
    workers.a.name, workers.a.ask.side_effect = "a", [9, 1, 9, 2, 9, 3]
    workers.b.name, workers.b.ask.side_effect = "b", [9, 4, 9, 5, 9, 6]
    assert measurements.interleave_steps([workers.a, workers.b], 3) == [[1, 2, 3], [4, 5, 6]]
    assert "".join(name[0] for name, *_ in workers.mock_calls) == "aabb" + "bbaa" + "aabb"
    assert capsys.readouterr().err.endswith("3 of 3: a 3 s, b 6 s\n")


def test_a_worker_continues_after_a_refusal_and_its_death_is_noticed():
    _, odd, _ = parse(["benchmark.py", "step", *TINY, "--batch_size=6"])
    _, long, _ = parse(["benchmark.py", "step", *TINY, "--auxiliary=reconstruct", "--segment_length=10"])
    spec, worker = SequenceSpec(length=9, channels=1, num_classes=10), Worker("aux_rnn")
    with pytest.raises(ConfigError, match="batch_size=6: must be a multiple of the 4 devices"):
        worker.ask("prepare", odd, spec, {})
    with pytest.raises(ConfigError, match="segment_length=10: must be at most 9 to reconstruct sequences of 9 ele"):
        worker.ask("prepare", long, spec, {})
    kill_workers()
    with pytest.raises(BrokenProcessPool):
        worker.ask("step")


def test_a_comparison_is_shown_with_both_programs_and_the_machine():
    record = json.loads((ROOT / "results/speed/two-cores-avx2.jsonl").read_text().splitlines()[1])
    own, other = record["programs"]
    own["product_gflop_per_second"], other["notes"] = 120.0, ["a remark"]  # which older records do not have
    table, _, about = format_records([record]).partition("\n\n")
    own, other = (line.split() for line in table.splitlines()[1:])
    assert own == ["aux_rnn", "1024", "5.579", "5.205", "5.859", "0.698", "7.56", "1274", "2117", "4.996"]
    assert other == ["PyTorch", "1024", "7.69", "7.037", "9.15", "-", "-", "-", "2174", "3.242"]
    assert "PyTorch takes 1.44 (1.26 to 1.56) times the seconds of aux_rnn" in about
    assert "a remark" in about
    assert ", AVX2, " in about
    assert max(map(len, table.splitlines())) <= 80


def measure(folder, *arguments):
    """Runs the program as a user does; returns its standard output and its records."""
    command = [sys.executable, PROGRAM, *arguments, *TINY, "--output=records.jsonl"]
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)
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
    popen = subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
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
