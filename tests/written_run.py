"""Writes the files of a run by hand, with records whose values are known or with checkpoints of a known state."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aux_rnn.config.serialization import to_json
from aux_rnn.config.settings import Config
from aux_rnn.storage.checkpoints import CheckpointWriter
from aux_rnn.training.steps import TrainState


def make_records(scale: float = 1.0) -> list[dict[str, Any]]:
    """Returns records of one epoch of pretraining and two of joint training, with a loss that was not finite."""
    records = []
    for epoch in (0.5, 1.0, 1.5, 2.0, 3.0):
        phase = "pretrain" if epoch <= 1 else "train"
        record = dict(kind="train", step=int(10 * epoch), phase=phase, epoch=epoch, seconds=epoch)
        record |= dict(reconstruct_loss=scale / epoch, gradient_norm=0.5 * epoch)
        if phase == "train":
            record |= dict(supervised_loss=None if epoch == 2 else 2.0 * scale, accuracy=0.25 * epoch)
        records.append(record)
    for split in ("validation", "test"):
        scores = dict(supervised_loss=1.5, accuracy=0.625, reconstruct_loss=0.25)
        records.append(dict(kind=split, step=30, phase="train", epoch=3.0, seconds=3.0, **scores))
    return records


def write_run(path: Path, config: Config, scale: float = 1.0, **summary: Any) -> str:
    """Writes a configuration, the records of `make_records` and, if there are values for it, a summary."""
    path.mkdir(parents=True)
    (path / "config.json").write_text(to_json(config))
    (path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in make_records(scale)))
    if summary:
        whole = dict(dataset="digits", auxiliary="reconstruct", status="complete", steps=30, results={}) | summary
        (path / "summary.json").write_text(json.dumps(whole))
    return str(path)


def at(step: int, state: TrainState) -> TrainState:
    """Returns the state that `write_checkpoints` saves after a step: its parameters are larger by 0.01 per step."""
    params = jax.tree.map(lambda array: array + np.float32(0.01 * step), state.params)
    return state.replace(step=np.int32(step), params=params)


def write_checkpoints(
    path: Path, config: Config, state: TrainState, steps: Sequence[int], best: int | None = None, **meta: Any
) -> Path:
    """Writes the configuration and the checkpoints of a run that was never trained."""
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(to_json(config))
    writer = CheckpointWriter(path / "checkpoints")
    for step in steps:
        writer.save(step, at(step, state), {"best": best and {"step": best}, **meta}, best)
    writer.close()
    return path


def panel_of(figure: Any, label: str) -> Any:
    """Returns the axes whose vertical label starts like this."""
    (panel,) = [axis for axis in figure.axes if axis.get_ylabel().startswith(label)]
    return panel
