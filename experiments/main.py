"""Trains and evaluates recurrent networks with auxiliary losses on long sequences.

  python experiments/main.py --flagfile=digits.flags
  python experiments/main.py --flagfile=cifar.flags --auxiliary=predict
  python experiments/main.py --mode=dry_run --flagfile=cifar.flags
  python experiments/main.py --mode=dry_run --topology=v5e:2x4
  python experiments/main.py --mode=eval --workdir=runs/p --checkpoint=best
  python experiments/main.py --mode=predict --workdir=runs/p --split=validation
  python experiments/main.py --mode=prepare --dataset=mnist --manual_dir=DEST

Flags after --flagfile override the file. The same command continues a run that
was interrupted.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags
from cli import command_line, environment, parsing
from cli.exits import BAD_INPUT, INTERRUPTED, OUTSIDE_OF_TRAINING, report
from cli.noise import quiet_libraries, stdout_for_results_only

from aux_rnn.config.fields import ConfigError
from aux_rnn.config.settings import Config
from aux_rnn.storage.workdir import WorkdirError, read_config
from aux_rnn.system.signals import delay_signals, ignore_signals, interrupt_on_signals

command_line.define_flags()
flags.adopt_module_key_flags(parsing)


def parse_flags(argv: Sequence[str]) -> list[str]:
    try:
        return command_line.parse(argv)
    except ConfigError as error:
        raise SystemExit(report(error, BAD_INPUT)) from None


def configure_jax(config: Config, given: command_line.RunFlags) -> None:
    """Configures JAX for the batch size of the run in the folder or, if there is none, of the run to come."""
    with contextlib.suppress(WorkdirError):  # reported when the run is opened
        config = read_config(Path(given.workdir)) or config
    if given.topology:
        os.environ["JAX_PLATFORMS"] = "cpu"  # the devices of the topology are none that JAX starts
    host = given.coordinator_address.rpartition(":")[0]
    are_all_here = host in ("localhost", "127.0.0.1", "[::1]")
    environment.configure_jax(config.run.batch_size, given.cpu_devices, max(1, given.num_processes), are_all_here)


def main(argv: Sequence[str]) -> int:
    del argv
    try:
        with interrupt_on_signals() as stop:
            config, given = command_line.read_flags()
            with delay_signals():
                configure_jax(config, given)
                # Imported only now, as a mistake on the command line need not wait for JAX.
                from modes.dispatch import run_mode

            with stdout_for_results_only():
                return run_mode(config, given, stop)
    except ConfigError as error:
        return report(error, BAD_INPUT)
    except KeyboardInterrupt:
        return report(OUTSIDE_OF_TRAINING, INTERRUPTED)


def main_and_end(argv: Sequence[str]) -> int:
    quiet_libraries()
    code = main(argv)
    ignore_signals()
    return code


if __name__ == "__main__":
    app.run(main_and_end, flags_parser=parse_flags)
