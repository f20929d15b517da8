"""The event files for TensorBoard, read back event by event."""

import io
import struct

import pytest
from PIL import Image
from tensorboardX.proto.event_pb2 import Event, SessionLog

from aux_rnn.config.serialization import with_settings
from aux_rnn.training.outputs import RunOutputs


def read_points(folder):
    """(tag, step, value) of everything that TensorBoard shows; of images the width."""
    shown = []
    for file in sorted(folder.glob("*tfevents*")):  # in TensorBoard's order
        data, place = file.read_bytes(), 0
        while place < len(data):
            (length,) = struct.unpack_from("<Q", data, place)
            event = Event.FromString(data[place + 12 : place + 12 + length])
            place += 12 + length + 4
            if event.session_log.status == SessionLog.START:
                shown = [point for point in shown if point[1] < event.step]
            values = event.summary.value
            shown += [(v.tag, event.step, v.image.width or round(v.simple_value, 6)) for v in values]
    return shown


def png(width):
    stream = io.BytesIO()
    Image.new("RGB", (width, 1)).save(stream, "png")
    return stream.getvalue()


@pytest.fixture
def config(tiny):
    return with_settings(tiny, pictures=True)


def record(files, kind, step, loss):
    files.record(kind, step, {"phase": "train", "loss": loss, "seconds": float(step)})


def test_a_continued_run_shows_every_value_once(config, tmp_path):
    path = tmp_path / "run"
    files = RunOutputs(path, config)
    files.open(0, True, 0)
    for step, loss in ((1, 0.5), (2, 0.25), (3, 0.125)):
        record(files, "train", step, loss)
        record(files, "validation", step, loss)
        files.show(step, lambda step=step: png(step))
    files.close()
    assert len(read_points(path / "tensorboard")) == 9
    # Killed after step 3, it continues after step 2, before the evaluation that is due there.
    files = RunOutputs(path, config)
    files.open(2, False, 3)
    record(files, "validation", 2, 0.75)
    files.show(2, lambda: png(20))
    record(files, "train", 3, float("nan"))
    files.close()
    # Continued once more after that evaluation.
    files = RunOutputs(path, config)
    files.open(2, True, 4)
    record(files, "train", 3, 0.0625)
    files.close()
    assert read_points(path / "tensorboard") == [
        ("loss/train", 1, 0.5),
        ("loss/validation", 1, 0.5),
        ("reconstructions", 1, 1),
        ("loss/train", 2, 0.25),
        ("loss/validation", 2, 0.75),
        ("reconstructions", 2, 20),
        ("loss/train", 3, 0.0625),
    ]


def test_without_pictures_no_events_are_written(tiny, tmp_path):
    files = RunOutputs(tmp_path / "run", tiny)
    files.open(0, True, 0)
    record(files, "train", 1, 0.5)
    files.close()
    assert not (tmp_path / "run/tensorboard").exists()
