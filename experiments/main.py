"""Prepares data for, trains or evaluates recurrent networks with auxiliary losses on long sequences.

  python experiments/main.py --flagfile=digits.flags
  python experiments/main.py --flagfile=cifar.flags --auxiliary=predict --workdir=runs/cifar-p
  python experiments/main.py --mode=eval --workdir=runs/cifar-p
  python experiments/main.py --mode=prepare --dataset=stanford_dogs --manual_dir=DOWNLOADS

A flag after --flagfile wins over the file. The same command continues a run that was interrupted.
"""

import sys
from collections.abc import Sequence

import command_line
from absl import app, flags, logging
from data_report import format_description

from aux_rnn.checkpoints import CheckpointError
from aux_rnn.datasets import DataError, describe_data
from aux_rnn.evaluation import evaluate_run
from aux_rnn.progress import Progress, format_summary
from aux_rnn.settings import ConfigError
from aux_rnn.training import TrainingError, train_and_evaluate
from aux_rnn.workdir import WorkdirError

# Exit codes: 0 complete, 1 failed while running, 2 nothing was done, 75 ("try again") interrupted and saved.
BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 75

command_line.define_flags()
flags.adopt_module_key_flags(command_line)


def parse_flags(argv: Sequence[str]) -> list[str]:
    try:
        return command_line.parse(argv)
    except ConfigError as error:
        raise SystemExit(report(error, BAD_INPUT)) from None


def report(error: Exception | str, code: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return code


def main(argv: Sequence[str]) -> int:
    del argv
    logging.set_verbosity(logging.WARNING)
    try:
        config = command_line.config_from_flags()
        if flags.FLAGS.mode == "prepare":
            print(format_description(describe_data(config.data, config.run.seed)))
            return 0
        workdir = command_line.workdir_from_flags(config)
        if flags.FLAGS.mode == "eval":
            summary = evaluate_run(workdir, config.data)
        else:
            summary = train_and_evaluate(config, workdir, Progress())
    except (ConfigError, DataError, WorkdirError, CheckpointError) as error:
        return report(error, BAD_INPUT)
    except (TrainingError, OSError) as error:
        return report(error, FAILED)
    except KeyboardInterrupt:
        return report("interrupted outside of training; nothing was lost", INTERRUPTED)
    print(format_summary(summary, workdir))
    return INTERRUPTED if summary["status"] == "interrupted" else 0


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
