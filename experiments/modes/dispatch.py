"""Runs each mode of the program, and converts errors to exit codes."""

import contextlib
import faulthandler
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
from cli.command_line import RunFlags
from cli.exits import BAD_INPUT, FAILED, IN_USE, INTERRUPTED, OUTSIDE_OF_TRAINING, report
from jax.errors import JaxRuntimeError

from aux_rnn.analysis.evaluate import evaluate_run
from aux_rnn.analysis.reconstruct import reconstruct_run
from aux_rnn.config.fields import ConfigError
from aux_rnn.config.settings import Config
from aux_rnn.datasets import DataError
from aux_rnn.distributed import POLL_MS, ProcessError, ProcessGroup, find_processes, initialize
from aux_rnn.errors import first_line
from aux_rnn.storage.addresses import open_workdir
from aux_rnn.storage.checkpoints import CheckpointError
from aux_rnn.storage.remote import RemoteCopy
from aux_rnn.storage.workdir import REPORT, InUseError, StorageError, WorkdirError
from aux_rnn.system.jax_settings import standard_jax
from aux_rnn.system.signals import StopRequest
from aux_rnn.training.loop import TrainingError
from aux_rnn.training.progress import Progress, format_summary, null_progress
from aux_rnn.training.train import train_and_evaluate
from modes.data_report import report_data


def run_mode(config: Config, given: RunFlags, stop: StopRequest) -> int:
    """Runs the program as one of the processes of a run; returns the exit code. Raises ConfigError for bad flags."""
    try:
        processes = initialize(find_processes(given.num_processes, given.process_id, given.coordinator_address))
    except ProcessError as error:
        return exit_now(report(error, BAD_INPUT))
    except KeyboardInterrupt:
        return exit_now(report(OUTSIDE_OF_TRAINING, INTERRUPTED))
    if processes.count > 1:
        faulthandler.disable()  # JAX aborts this process when another one ends; stacks of its threads would be noise
    try:
        with contextlib.closing(processes):
            return run_mode_on_all(config, given, processes, stop)
    except (StorageError, OSError) as error:
        code = report(error, FAILED)
    except KeyboardInterrupt:
        code = report(OUTSIDE_OF_TRAINING, INTERRUPTED)
        if processes.count > 1 and processes.is_main:
            time.sleep(2 * POLL_MS / 1_000)  # others may handle the same signal now; JAX aborts them after this process
        return exit_now(code)  # XLA may still be compiling in a thread, which crashes when the interpreter ends
    except Exception as error:
        if processes.count == 1:
            raise
        if isinstance(error, JaxRuntimeError):
            code = report(f"{first_line(error)} (as where another process has ended)", FAILED)
        else:
            traceback.print_exc()
            code = FAILED
    return code if processes.count == 1 else exit_now(code)


def run_mode_on_all(config: Config, given: RunFlags, processes: ProcessGroup, stop: StopRequest) -> int:
    """Runs a mode; the exit codes returned here are the same in all processes, and one of them reports the reason."""
    try:
        if given.mode not in ("prepare", "report"):
            processes.run_on_all(require_devices)
        with standard_jax():
            if given.mode == "train":
                output, code = train(config, given, processes, stop)
            else:
                output, code = HANDLERS[given.mode](config, given, processes), 0
        if processes.is_main:
            print(output)
        return code
    except InUseError as error:
        return report(error, IN_USE)
    except (ConfigError, DataError, WorkdirError, CheckpointError) as error:
        return report(error, BAD_INPUT)
    except ProcessError as error:  # of another process, which says so itself; process 0 is the one people look at
        return report(error, BAD_INPUT) if processes.is_main else BAD_INPUT
    except TrainingError as error:
        return report(error, FAILED) if processes.is_main else FAILED


def require_devices() -> None:
    """Raises ConfigError if the machine has no devices of the platform that JAX_PLATFORMS names."""
    try:
        jax.devices()
    except JaxRuntimeError:  # another process has ended
        raise
    except (RuntimeError, AssertionError) as error:  # the latter where JAX knows the platform but lacks its plugin
        asked = f"JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS', '')}"
        remedy = "unset it and JAX chooses, or set it to cpu"
        raise ConfigError(f"{asked}: JAX finds no such devices ({first_line(error, 200)}); {remedy}") from error


def train(config: Config, given: RunFlags, processes: ProcessGroup, stop: StopRequest) -> tuple[str, int]:
    """Trains to the end, continuing the run in the folder if there is one; returns the output and the exit code."""
    with working_folder(given.workdir, processes) as (folder, remote):
        with contextlib.nullcontext(Progress()) if processes.is_main else null_progress() as progress:
            summary = train_and_evaluate(config, folder, progress, processes, remote, stop, extends=given.extend)
        made = REPORT if (folder / REPORT).is_file() else ""
    return format_summary(summary, given.workdir, made), INTERRUPTED * (summary["status"] == "interrupted")


def prepare(config: Config, given: RunFlags, processes: ProcessGroup) -> str:
    """Prepares the data set and describes it."""
    return processes.run_on_main_first(lambda: report_data(config.data, config.run.seed))


def describe_run(config: Config, given: RunFlags, processes: ProcessGroup) -> str:
    """Describes the settings, size, memory and expected time of a run without starting it."""
    # Imported here because no other mode needs them.
    from modes.compile_only import compile_for, format_compiled
    from modes.dry_run import dry_run, format_dry_run

    if given.topology:
        return format_compiled(config, compile_for(config, given.topology))
    return format_dry_run(dry_run(config, processes), given.workdir, processes.count)


def evaluate(config: Config, given: RunFlags, processes: ProcessGroup) -> str:
    """Evaluates a checkpoint with its own settings."""
    with working_folder(given.workdir, processes) as (folder, _):
        summary = evaluate_run(folder, config.data, processes, given.checkpoint)
    return format_summary(summary, given.workdir, "")


def predict(config: Config, given: RunFlags, processes: ProcessGroup) -> str:
    """Writes the predictions of a run for a split to its folder; returns the scores per class."""
    # Imported here because importing scikit-learn takes a while.
    from aux_rnn.analysis.predict import predict_run, save_predictions

    with working_folder(given.workdir, processes) as (folder, remote):
        found = predict_run(folder, config.data, given.split, processes, given.checkpoint)
        files = save_in_main(processes, folder, remote, lambda: save_predictions(folder, found))
    return f"{found.report()}\n{found.split} split, after {found.step:,} steps: {', '.join(files)} in {given.workdir}"


def reconstruct(config: Config, given: RunFlags, processes: ProcessGroup) -> str:
    """Draws reconstructions of a run."""
    return draw(given, processes, lambda folder: [reconstruct_run(folder, config.data, given.checkpoint)])


def write_report(config: Config, given: RunFlags, processes: ProcessGroup) -> str:
    """Writes the report of a run and its curves."""
    # Imported here because importing Matplotlib takes a while.
    from aux_rnn.plots.report import save_report

    return draw(given, processes, save_report)


def draw(given: RunFlags, processes: ProcessGroup, save: Callable[[Path], list[Path]]) -> str:
    """Draws files in process 0; returns their names."""
    with working_folder(given.workdir, processes) as (folder, remote):
        drawn = save_in_main(processes, folder, remote, lambda: [str(f.relative_to(folder)) for f in save(folder)])
    return "\n".join(f"{given.workdir}/{name}" for name in drawn)


HANDLERS: dict[str, Callable[[Config, RunFlags, ProcessGroup], str]] = {
    "eval": evaluate,
    "predict": predict,
    "reconstruct": reconstruct,
    "report": write_report,
    "dry_run": describe_run,
    "prepare": prepare,
}


def save_in_main(
    processes: ProcessGroup, folder: Path, remote: RemoteCopy | None, save: Callable[[], list[str]]
) -> list[str]:
    """Saves files to the run's folder in process 0, and copies them to its address; returns their names."""

    def save_and_copy() -> list[str]:
        files = save()
        if remote:
            remote.add(folder, files)
        return files

    return processes.run_on_all(lambda: save_and_copy() if processes.is_main else [])


@contextlib.contextmanager
def working_folder(workdir: str, processes: ProcessGroup) -> Iterator[tuple[Path, RemoteCopy | None]]:
    """Yields the run's folder and, in process 0 if `workdir` is an address, its copy there; see `open_workdir`.

    Raises its errors in process 0, which alone uses the address, and ProcessError in the others.
    """
    with contextlib.ExitStack() as stack:
        opened = processes.run_on_all(lambda: stack.enter_context(open_workdir(workdir)) if processes.is_main else None)
        yield opened or (Path(workdir), None)


def exit_now(code: int) -> int:
    """Exits without waiting for threads and for other processes, which JAX aborts then: an ordinary exit waits."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
