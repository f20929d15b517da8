"""What the program does: training, evaluation, preparation of data, each to its exit code."""

import contextlib
import faulthandler
import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
from data_report import format_description
from exits import BAD_INPUT, FAILED, IN_USE, INTERRUPTED, OUTSIDE_OF_TRAINING, report
from jax.errors import JaxRuntimeError

from aux_rnn.checkpoints import CheckpointError
from aux_rnn.config import Config
from aux_rnn.datasets import DataError, describe_data
from aux_rnn.distributed import POLL_MS, ProcessError, ProcessGroup, find_processes, initialize
from aux_rnn.errors import first_line
from aux_rnn.evaluation import evaluate_run
from aux_rnn.interruption import StopRequest
from aux_rnn.progress import Progress, format_summary, unseen_progress
from aux_rnn.run import TrainingError
from aux_rnn.settings import ConfigError
from aux_rnn.showing import reconstruct_run
from aux_rnn.storage.addresses import is_address, local_copy
from aux_rnn.storage.remote import RemoteCopy
from aux_rnn.training import train_and_evaluate
from aux_rnn.workdir import REPORT, InUseError, StorageError, WorkdirError


def carry_out(
    mode: str,
    config: Config,
    workdir: str,
    place: Mapping[str, Any],
    stop: StopRequest,
    checkpoint: str = "latest",
    split: str = "test",
) -> int:
    """Does what `mode` says, as one of the processes of a run.

    Args:
      mode: one of `command_line.MODES`.
      config: the experiment.
      workdir: folder or address of the run.
      place: arguments of `find_processes`.
      stop: whether the run was asked to stop.
      checkpoint: which one to use, see `restore_state`; of no meaning to training, which goes on from the newest.
      split: of the data, to predict.

    Returns:
      The exit code.
    """
    try:
        processes = initialize(find_processes(**place))
    except ConfigError as error:
        return report(error, BAD_INPUT)
    except ProcessError as error:
        return exit_now(report(error, BAD_INPUT))
    except KeyboardInterrupt:
        return exit_now(report(OUTSIDE_OF_TRAINING, INTERRUPTED))
    if processes.count > 1:
        faulthandler.disable()  # JAX aborts this process when another one ends; stacks of its threads would be noise
    try:
        with contextlib.closing(processes):
            return carry_out_together(mode, config, workdir, stop, processes, checkpoint, split)
    except (StorageError, OSError) as error:
        code = report(error, FAILED)
    except KeyboardInterrupt:
        code = report(OUTSIDE_OF_TRAINING, INTERRUPTED)
        if processes.count > 1 and processes.is_main:
            time.sleep(2 * POLL_MS / 1_000)  # others may handle the same signal now; JAX aborts them after this process
    except Exception as error:
        if processes.count == 1:
            raise
        if isinstance(error, JaxRuntimeError):
            code = report(f"{first_line(error)} (as where another process has ended)", FAILED)
        else:
            traceback.print_exc()
            code = FAILED
    return code if processes.count == 1 else exit_now(code)


def carry_out_together(
    mode: str, config: Config, workdir: str, stop: StopRequest, processes: ProcessGroup, checkpoint: str, split: str
) -> int:
    """As `carry_out`; what ends in an exit code here ends so in all processes, and one of them says why."""
    try:
        if mode not in ("prepare", "report"):
            processes.run_on_all(require_devices)
        if mode == "prepare":
            description = processes.run_on_main_first(lambda: describe_data(config.data, config.run.seed))
            if processes.is_main:
                print(format_description(description))
            return 0
        if mode == "dry_run":
            return print_dry_run(config, workdir, processes)
        with working_folder(workdir, processes) as (folder, remote):
            if mode in ("reconstruct", "report"):
                return look_back(mode, folder, config, workdir, processes, remote, checkpoint)
            if mode == "predict":
                return predict(config, workdir, folder, remote, processes, checkpoint, split)
            if mode == "eval":
                summary = evaluate_run(folder, config.data, processes, checkpoint)
            else:
                with contextlib.nullcontext(Progress()) if processes.is_main else unseen_progress() as progress:
                    summary = train_and_evaluate(config, folder, progress, processes, remote, stop)
            made = REPORT if mode == "train" and (folder / REPORT).is_file() else ""
    except InUseError as error:
        return report(error, IN_USE)
    except (ConfigError, DataError, WorkdirError, CheckpointError) as error:
        return report(error, BAD_INPUT)
    except ProcessError as error:  # of another process, which says so itself; process 0 is the one people look at
        return report(error, BAD_INPUT) if processes.is_main else BAD_INPUT
    except TrainingError as error:
        return report(error, FAILED) if processes.is_main else FAILED
    if processes.is_main:
        print(format_summary(summary, workdir, made))
    return INTERRUPTED if summary["status"] == "interrupted" else 0


def require_devices() -> None:
    """Raises ConfigError if the machine has no devices of the platform that JAX_PLATFORMS names."""
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter where JAX knows the platform but lacks its plugin
        asked = f"JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS', '')}"
        remedy = "unset it and JAX chooses, or set it to cpu"
        raise ConfigError(f"{asked}: JAX finds no such devices ({first_line(error, 200)}); {remedy}") from error


def look_back(
    mode: str,
    folder: Path,
    config: Config,
    workdir: str,
    processes: ProcessGroup,
    remote: RemoteCopy | None,
    checkpoint: str,
) -> int:
    """Draws reconstructions of a run, or writes its report; in process 0."""

    # Imported here because Matplotlib takes a second, which training need not wait for.
    from aux_rnn.report import save_report

    def look() -> None:
        made = [reconstruct_run(folder, config.data, checkpoint)] if mode == "reconstruct" else save_report(folder)
        for file in made:
            if remote:
                remote.add(folder, [str(file.relative_to(folder))])
            print(f"{workdir}/{file.relative_to(folder)}")

    processes.run_on_all(lambda: look() if processes.is_main else None)
    return 0


def print_dry_run(config: Config, workdir: str, processes: ProcessGroup) -> int:
    """Prints what a run would be and take, without beginning it."""
    # Here and not above: no other mode needs it.
    from dry_run import dry_run, format_dry_run

    found = dry_run(config, processes)
    if processes.is_main:
        print(format_dry_run(found, workdir, processes.count))
    return 0


def predict(
    config: Config,
    workdir: str,
    folder: Path,
    remote: RemoteCopy | None,
    processes: ProcessGroup,
    checkpoint: str,
    split: str,
) -> int:
    """Writes the predictions of a run for a split to its folder, and prints the scores per class."""
    # Imported here because scikit-learn takes a while.
    from aux_rnn.predictions import predict_run, save_predictions

    found = predict_run(folder, config.data, split, processes, checkpoint)

    def save() -> None:
        files = save_predictions(folder, found)
        if remote:
            remote.add(folder, files)
        print(f"{found.report()}\n{found.split} split, after {found.step:,} steps: {', '.join(files)} in {workdir}")

    processes.run_on_all(lambda: save() if processes.is_main else None)
    return 0


@contextlib.contextmanager
def working_folder(workdir: str, processes: ProcessGroup) -> Iterator[tuple[Path, RemoteCopy | None]]:
    """Yields the run's folder and, in process 0 if `workdir` is an address, its copy there; see `local_copy`.

    Raises:
      ConfigError, RemoteError: the address cannot be used.
      ProcessError: the same, in process 0, which alone uses it.
    """
    with contextlib.ExitStack() as stack:
        is_remote = is_address(workdir) and processes.is_main
        opened = processes.run_on_all(lambda: stack.enter_context(local_copy(workdir)) if is_remote else None)
        yield opened or (Path(workdir), None)


def exit_now(code: int) -> int:
    """Exits without waiting for the other processes, which JAX aborts then: an ordinary exit waits for all of them."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
