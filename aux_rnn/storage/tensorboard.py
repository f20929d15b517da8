"""Event files for TensorBoard: the records of `metrics.jsonl` and the figures of reconstructions."""

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tensorboardX import SummaryWriter

NOT_SCALARS = ("kind", "step", "phase", "seconds")


class EventFile:
    """Writes a new event file that replaces what earlier ones hold from `step` on.

    The records are all lines of `metrics.jsonl`; of the PNG files by step, that of `step` is written again.
    """

    def __init__(self, folder: Path, step: int, records: Iterable[str] = (), figures: dict[int, Path] | None = None):
        # With a bounded queue, training would wait forever once the writing thread has died on a full disk.
        self._writer = SummaryWriter(
            str(folder), purge_step=step, max_queue=0, flush_secs=1, filename_suffix=f".{step:010d}"
        )
        for record in map(json.loads, records):
            if record["step"] >= step:
                self.write(record)
        if figures and step in figures:
            self.show(step, figures[step].read_bytes())

    def write(self, record: dict[str, Any]) -> None:
        """Adds a record of `metrics.jsonl`, one scalar per number."""
        for name, value in record.items():
            if name not in NOT_SCALARS and value is not None:
                self._writer.add_scalar(f"{name}/{record['kind']}", value, record["step"])

    def show(self, step: int, figure: bytes) -> None:
        """Adds a PNG of reconstructions."""
        pixels = np.asarray(Image.open(io.BytesIO(figure)).convert("RGB"))
        self._writer.add_image("reconstructions", pixels, step, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()
