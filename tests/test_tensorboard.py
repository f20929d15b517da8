"""The events for TensorBoard, read back record by record."""

import json
import struct
import subprocess
import sys

import pytest
from absl import logging
from PIL import Image

from aux_rnn import config as config_lib
from aux_rnn.event_protocol import Event, SessionLog
from aux_rnn.run_files import RunOutputs
from aux_rnn.tensorboard import EventFile


def read_events(folder):
    """All events in the folder, in the order in which TensorBoard reads them."""
    events = []
    for file in sorted(folder.glob("*tfevents*")):
        data, place = file.read_bytes(), 0
        while place < len(data):
            (length,) = struct.unpack_from("<Q", data, place)
            events.append(Event.FromString(data[place + 12 : place + 12 + length]))
            place += 12 + length + 4
        assert place == len(data)
    return events


def points(folder):
    """(tag, step, value) of everything that is drawn; of images their width."""
    return [
        (value.tag, event.step, value.image.width or round(value.simple_value, 6))
        for event in read_events(folder)
        for value in event.summary.value
    ]


def png(width):
    import io

    stream = io.BytesIO()
    Image.new("RGB", (width, 1)).save(stream, "png")
    return stream.getvalue()


def line(kind, step, seconds, **values):
    return json.dumps({"kind": kind, "step": step, "phase": "train", "epoch": 0.5, **values, "seconds": seconds})


@pytest.fixture
def config(tiny):
    return config_lib.from_flat({**config_lib.to_flat(tiny), "pictures": True})


def test_scalars_and_pictures_are_there_at_their_steps_and_times(tmp_path):
    (tmp_path / "old.png").write_bytes(png(3))
    records = [line("train", 2, 10.0, loss=0.5, accuracy=None), line("validation", 4, 30.0, accuracy=0.25)]
    events = EventFile(tmp_path / "tensorboard", records, {4: tmp_path / "old.png"}, now=1_000.0)
    events.write(json.loads(line("train", 6, 45.0, loss=0.125)))
    events.show(6, png(7))
    events.close()
    assert points(tmp_path / "tensorboard") == [
        ("epoch/train", 2, 0.5),
        ("loss/train", 2, 0.5),
        ("epoch/validation", 4, 0.5),
        ("accuracy/validation", 4, 0.25),
        ("reconstructions", 4, 3),
        ("epoch/train", 6, 0.5),
        ("loss/train", 6, 0.125),
        ("reconstructions", 6, 7),
    ]
    written = read_events(tmp_path / "tensorboard")
    assert written[0].file_version == "brain.Event:2"
    assert written[1].session_log.status == SessionLog.START
    assert [event.wall_time for event in written[2:6]] == [980.0, 1_000.0, 1_000.0, 1_015.0]


def test_a_run_that_continues_has_every_point_once(config, tmp_path):
    path = tmp_path / "run"

    def record(files, kind, step, loss):
        files.record(kind, step, {"phase": "train", "epoch": step / 2, "loss": loss, "seconds": float(step)})

    def scalars():
        return [point for point in points(path / "tensorboard") if not point[0].startswith("epoch")]

    files = RunOutputs(path, config)
    files.open(0, True, 0)
    for step, loss in ((1, 0.5), (2, 0.25), (3, 0.125)):
        record(files, "train", step, loss)
        files.show(step, lambda step=step: png(step))
    files.close()
    assert len(scalars()) == 6
    # Killed after step 3, it continues after step 2, before the evaluation that is due there.
    files = RunOutputs(path, config)
    files.open(2, False, 2)
    files.show(2, lambda: png(20))
    record(files, "train", 3, 0.0625)
    files.close()
    assert scalars() == [
        ("loss/train", 1, 0.5),
        ("loss/train", 2, 0.25),
        ("reconstructions", 1, 1),
        ("reconstructions", 2, 20),
        ("loss/train", 3, 0.0625),
    ]


def test_a_failure_to_write_events_is_said_once_and_the_records_go_on(config, tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(logging, "warning", lambda text, *arguments: lines.append(text % arguments))

    def fail(self, record):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(EventFile, "write", fail)
    files = RunOutputs(tmp_path / "run", config)
    files.open(0, True, 0)
    for step in (1, 2):
        files.record("train", step, {"phase": "train", "epoch": 1.0, "seconds": 1.0})
    files.close()
    assert len(lines) == 1
    assert "an event in tensorboard/ could not be made ([Errno 28] No space left on device)" in lines[0]
    assert len((tmp_path / "run/metrics.jsonl").read_text().splitlines()) == 2


def test_without_pictures_nothing_is_written_for_tensorboard(tiny, tmp_path):
    files = RunOutputs(tmp_path / "run", tiny)
    files.open(0, True, 0)
    files.record("train", 1, {"phase": "train", "epoch": 1.0, "seconds": 1.0})
    files.close()
    assert not (tmp_path / "run/tensorboard").exists()


def test_the_import_leaves_pytorch_alone():
    program = "import sys; import aux_rnn.tensorboard; assert 'torch' not in sys.modules; import importlib.util as u"
    subprocess.run([sys.executable, "-c", program], check=True)
