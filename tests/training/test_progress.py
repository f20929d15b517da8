"""Plain lines in a pipe, a bar on a terminal, and seconds by section."""

import dataclasses
import io
from types import SimpleNamespace

import pytest

from aux_rnn.system import timing
from aux_rnn.system.memory import peak_process_mib
from aux_rnn.system.timing import Clock, Speed
from aux_rnn.training.plan import Plan
from aux_rnn.training.progress import Progress, format_summary

PLAN = Plan(10, pretrain_steps=10, train_steps=20, log_every=5, evaluate_every=10, checkpoint_every=10)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")


@pytest.mark.parametrize(("kind", "name"), [(io.StringIO, "xterm"), (Terminal, "dumb")])
def test_plain_lines_elsewhere_than_on_a_terminal_that_can_draw(kind, name, monkeypatch):
    monkeypatch.setenv("TERM", name)
    stream = kind()
    progress = Progress(stream)
    progress.begin(PLAN, 0)
    progress.advance("pretrain", 1)
    shuffled = {"gradient_norm": 0.123, "learning_rate": 1e-3, "loss": 0.5, "accuracy": 0.123}
    progress.log("pretrain", 5, shuffled, remaining=3661)
    progress.say("a line")
    progress.end()
    line = "pretrain 5/30  loss 0.5  accuracy 12.3 %  |grad| 0.12  rate 0.001  ETA 1:01:01"
    assert stream.getvalue().splitlines() == [line, "a line"]


@pytest.mark.parametrize(
    ("columns", "shown"), [(44, ""), (80, "acc 50.0% sup 0.25"), (200, "acc 50.0% sup 0.25 pre 5 1,234 ex/s")]
)
def test_a_bar_on_a_terminal_continues_where_the_run_was_and_has_a_readable_width(columns, shown, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = Terminal()
    progress = Progress(stream)
    progress.begin(dataclasses.replace(PLAN, train_steps=10**6), 12)
    assert "starting |" in stream.getvalue()
    values = {"supervised_loss": 0.25, "accuracy": 0.5, "predict_loss": 5, "examples_per_second": 1234.5}
    progress.log("train", 13, values, remaining=60)
    progress.advance("train", 1)
    progress.say("a line")
    progress.end()
    last = stream.getvalue().rstrip().rpartition("\r")[2]
    assert "13/1000010" in last
    assert last.endswith(shown)
    assert ("acc" in last) == bool(shown)
    assert "a line\n" in stream.getvalue()
    assert "\x1b" not in stream.getvalue(), "no colours, whatever NO_COLOR says"


def test_a_long_line_is_folded_on_a_terminal_and_left_alone_in_a_pipe():
    line = "train 10/105  validation: accuracy 6.9 %  " + "  ".join(["reconstruct 0.168"] * 5)
    for stream in (Terminal(), io.StringIO()):
        progress = Progress(stream)
        progress.say(line)
        lines = stream.getvalue().splitlines()
        assert " ".join(" ".join(lines).split()) == " ".join(line.split())
        assert (max(map(len, lines)) <= 80) == stream.isatty()


def test_the_closing_table_fits_80_columns():
    summary = dict(dataset="digits", auxiliary="both", status="complete", steps=30, seconds=59.6)
    losses = dict(supervised_loss=0.123456, reconstruct_loss=0.0123456, predict_loss=0.1)
    gains = dict(reconstruct_memory_gain=-0.000123, predict_memory_gain=0.0456)
    results = dict(test=dict(**losses, **gains, accuracy=0.987654))
    table = format_summary({**summary, "results": results}, "runs/digits", "report.html")
    assert table.splitlines()[-2:] == ["folder      runs/digits", "report      runs/digits/report.html"]
    assert max(map(len, table.splitlines())) <= 80
    assert "test        accuracy 98.8 %" in table
    assert "0:01:00" in table


def test_the_clock_adds_up_sections_and_continues_from_earlier_processes(monkeypatch):
    times = iter([0.0, 2.0, 5.0, 6.0, 6.0, 9.0])
    monkeypatch.setattr(timing, "time", SimpleNamespace(monotonic=lambda: next(times)))
    clock = Clock({"train": 10.0}, {"train": 3})
    assert clock.mean("evaluate") is None
    with clock.section("train"):
        pass
    with pytest.raises(KeyError), clock.section("evaluate"):
        raise KeyError
    assert dict(clock.seconds) == {"train": 12.0, "evaluate": 1.0}
    assert (clock.total(), clock.mean("train")) == (13.0, 3.0)
    with clock.section("train", entries=0):  # a part of a section, which adds time and no entry
        pass
    assert (clock.seconds["train"], clock.entries["train"]) == (15.0, 4)


def test_speed_is_that_of_the_last_second_or_more_in_its_section():
    clock = Clock({"train": 4.0}, {"train": 3})
    speed = Speed(clock, "train")

    def read_after(seconds, entries=1, section="train"):
        clock.seconds[section] += seconds
        clock.entries[section] += entries
        return speed.read()

    assert read_after(60.0, section="compile") == 0
    assert [read_after(seconds) for seconds in (0.25, 0.0, 0.25, 0.0)] == [4, 8, 6, 8]
    assert read_after(1.0) == 1, "what was more than a second ago no longer counts"
    assert read_after(4.0, entries=8) == 2
    assert read_after(0.0, entries=0) == 2


def test_peak_memory_is_this_process_own(tmp_path):
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n")
    assert peak_process_mib(status) == 2.0
    assert 20 < peak_process_mib() < 100_000
    assert 20 < peak_process_mib(tmp_path / "missing") < 100_000
