"""Experiments: what follows from a configuration and the data, and the checks of both."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aux_rnn.config.fields import ConfigError, setting_error
from aux_rnn.config.serialization import DISPATCH, NOT_COMPARED, diff_configs, from_json, to_json
from aux_rnn.config.settings import ENCODERS, Config, RunConfig
from aux_rnn.config.spec import SequenceSpec, check_devices, check_segment
from aux_rnn.datasets import Splits, find_dataset, load_splits, split_sizes, steps_per_epoch
from aux_rnn.distributed import ProcessGroup
from aux_rnn.recurrence.cells import cell_factory, check_cell
from aux_rnn.storage.workdir import WorkdirError
from aux_rnn.training.plan import Plan
from aux_rnn.training.steps import Steps, make_steps


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A configuration with its data, its plan and its steps.

    The permutation, int `[L]`, gives the pixel that is read at each step; None reads them in order.
    """

    config: Config
    spec: SequenceSpec
    splits: Splits
    plan: Plan
    steps: Steps
    permutation: np.ndarray | None = None


def check(config: Config) -> SequenceSpec:
    """Checks the settings against the data set and the devices before any example is read.

    Where a user may have a part of the data, what depends on the counts is checked once it is prepared. Raises
    ConfigError for a setting that does not fit, and DataError for a data set that must lie prepared and does not.
    """
    dataset = find_dataset(config.data)
    spec = dataset.sequence_spec(config.data)
    check_pixel_loss(config, np.dtype(dataset.form.dtype))
    check_step(config, spec)
    if sizes := split_sizes(config.data):
        Plan.of(config, steps_per_epoch(sizes.train, config.run.batch_size))
    return spec


def check_step(config: Config, spec: SequenceSpec) -> None:
    """Raises ConfigError if a step on such sequences does not fit the settings or the devices, or a cell is none."""
    check_segment(config.model, spec)
    if config.model.encoder not in ENCODERS:  # a cell of the program, or the name of one
        check_cell(cell_factory(config.model.encoder, config.model.precision))
    check_devices(config, jax.device_count())


def check_pixel_loss(config: Config, dtype: np.dtype) -> None:
    """Raises ConfigError if the loss needs bytes and the values are of another type."""
    if config.model.pixel_loss == "softmax" and dtype != np.uint8:
        raise setting_error("pixel_loss", "softmax", f"squared for values of {dtype}; softmax is for uint8")


def create_experiment(config: Config) -> Experiment:
    """Reads the data and builds the steps. Raises ConfigError and DataError."""
    spec = check(config)
    splits = load_splits(config.data, config.run.seed)
    return assemble(config, spec, splits, find_dataset(config.data).permutation(config.data))


def assemble(config: Config, spec: SequenceSpec, splits: Splits, permutation: np.ndarray | None = None) -> Experiment:
    """Builds the experiment on data in memory. Raises ConfigError if there are too few examples for a batch."""
    plan = Plan.of(config, steps_per_epoch(len(splits.train), config.run.batch_size))
    same_for_all_seeds = dataclasses.replace(config, run=RunConfig(batch_size=config.run.batch_size))
    order = None if permutation is None else tuple(permutation.tolist())
    steps = find_steps(same_for_all_seeds, spec, plan, order)
    return Experiment(config, spec, splits, plan, steps, permutation)


@functools.lru_cache(maxsize=1)
def find_steps(config: Config, spec: SequenceSpec, plan: Plan, permutation: tuple[int, ...] | None) -> Steps:
    """Returns the steps of the latest run again if they fit, as for another seed; they are compiled only once."""
    return make_steps(config, spec, plan, None if permutation is None else np.array(permutation))


def check_together(config: Config, processes: ProcessGroup) -> None:
    """Calls `check` in every process of a run; raises its errors, and ProcessError for those of another process.

    Raises ConfigError, too, if the processes have different settings or numbers of devices.
    """
    devices = processes.all_gather(jax.local_device_count())
    settings = processes.broadcast(to_json(config))

    def check_here() -> None:
        if changes := diff_configs(from_json(settings), config, set(NOT_COMPARED) - set(DISPATCH)):
            raise ConfigError(f"other settings than process 0 ({changes}); start all processes with the same flags")
        if len(set(devices)) > 1:
            found = ", ".join(map(str, devices))
            raise ConfigError(f"the processes have {found} devices; give all equally many (on a CPU: --cpu_devices)")
        check(config)

    processes.run_on_all(check_here)


def require_same_data(path: Path, meta: Mapping[str, Any], splits: Splits) -> None:
    """Raises WorkdirError if a checkpoint with this meta data was saved by a run on other examples."""
    now = splits.counts()
    before = meta.get("examples", now)
    if before == now and meta.get("data", splits.fingerprint) == splits.fingerprint:
        return
    found = f"examples: {before}; now: {now}" if before != now else "as many examples, but different ones"
    raise WorkdirError(
        f"workdir={path}: holds a run on other data ({found}); bring the data back, or choose another folder"
    )
