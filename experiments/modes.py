"""What the program does: training, evaluation, preparation of data, each to its exit code."""

from pathlib import Path

from data_report import format_description
from exits import BAD_INPUT, FAILED, INTERRUPTED, report

from aux_rnn.checkpoints import CheckpointError
from aux_rnn.config import Config
from aux_rnn.datasets import DataError, describe_data
from aux_rnn.evaluation import evaluate_run
from aux_rnn.progress import Progress, format_summary
from aux_rnn.settings import ConfigError
from aux_rnn.training import TrainingError, train_and_evaluate
from aux_rnn.workdir import WorkdirError


def carry_out(mode: str, config: Config, workdir: Path) -> int:
    """Does what `mode` says; returns the exit code."""
    try:
        if mode == "prepare":
            print(format_description(describe_data(config.data, config.run.seed)))
            return 0
        summary = (
            evaluate_run(workdir, config.data) if mode == "eval" else train_and_evaluate(config, workdir, Progress())
        )
    except (ConfigError, DataError, WorkdirError, CheckpointError) as error:
        return report(error, BAD_INPUT)
    except (TrainingError, OSError) as error:
        return report(error, FAILED)
    print(format_summary(summary, workdir))
    return INTERRUPTED if summary["status"] == "interrupted" else 0
