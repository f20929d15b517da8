"""Event files for TensorBoard: the records of `metrics.jsonl`, and the pictures of what the decoders recall.

Written event by event with the parts of `tensorboardX`: its `SummaryWriter` writes in
a thread, which ends without a word when the disk is full and then lets the run wait for ever.
"""

import io
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from aux_rnn.event_protocol import Event, RecordWriter, SessionLog, Summary

NAME = "events.out.tfevents.{:010d}.aux_rnn"  # TensorBoard wants the beginning, and reads files in order of their names
NOT_DRAWN = ("kind", "step", "phase", "seconds")


class EventFile:
    """Writes one event file; whatever a run wrote before is written anew, so that no point comes twice.

    Args:
      folder: `tensorboard/` of the run. Its event files are removed.
      records: lines of `metrics.jsonl` that stay.
      pictures: PNG files by step that stay.
      now: seconds since 1970; the time of each record is as long ago as the run has taken since.

    Raises:
      OSError: it cannot be written.
    """

    def __init__(self, folder: Path, records: Iterable[str], pictures: dict[int, Path], now: float) -> None:
        folder.mkdir(exist_ok=True)
        for file in folder.glob("events.out.tfevents.*"):
            file.unlink()
        parsed = [json.loads(line) for line in records]
        self._begin = now - max((record["seconds"] for record in parsed), default=0.0)
        self._writer = RecordWriter(str(folder / NAME.format(int(now))))
        self._add(Event(wall_time=self._begin, file_version="brain.Event:2"))
        # Tells a TensorBoard that is open to forget what it has read of the files before.
        self._add(Event(wall_time=self._begin, step=0, session_log=SessionLog(status=SessionLog.START)))
        for record in parsed:
            self._add_record(record)
        for step, file in pictures.items():
            seconds = next((r["seconds"] for r in parsed if r["step"] >= step), 0.0)
            self._add_picture(step, file.read_bytes(), self._begin + seconds)
        self._writer.flush()

    def write(self, record: dict[str, Any]) -> None:
        """Adds a record of `metrics.jsonl`."""
        self._add_record(record)
        self._writer.flush()

    def show(self, step: int, picture: bytes) -> None:
        """Adds a PNG of what the decoders recall."""
        self._add_picture(step, picture, time.time())
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

    def _add_record(self, record: dict[str, Any]) -> None:
        shown = {k: v for k, v in record.items() if k not in NOT_DRAWN and v is not None}
        values = [Summary.Value(tag=f"{name}/{record['kind']}", simple_value=value) for name, value in shown.items()]
        when = self._begin + record["seconds"]
        self._add(Event(wall_time=when, step=record["step"], summary=Summary(value=values)))

    def _add_picture(self, step: int, picture: bytes, when: float) -> None:
        width, height = Image.open(io.BytesIO(picture)).size
        image = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=picture)
        summary = Summary(value=[Summary.Value(tag="reconstructions", image=image)])
        self._add(Event(wall_time=when, step=step, summary=summary))

    def _add(self, event: Event) -> None:
        self._writer.write(event.SerializeToString())
