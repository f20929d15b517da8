"""Writes a SLURM job that trains, and continues itself after each time limit.

  ./launch.sh slurm --nodes=2 --time=04:00:00 --partition=gpu --output=job.sh -- --flagfile=cifar.flags
  sbatch --gpus-per-task=1 job.sh

What else the cluster wants goes to sbatch's own command line, which wins over the script. All nodes must see the folder
of the repository and that of the run. The script was tested with stand-ins for srun and scontrol, never on a cluster.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from exits import BAD_INPUT, report

from launching.grammar import Parser, UsageError, count, matching, split_flags

LAUNCH = Path(__file__).parents[2] / "launch.sh"
SIGNAL_SLACK = 60  # seconds by which SLURM may send the signal too early

HEADER = """\
#!/usr/bin/env bash
{directives}
# Made by ./launch.sh slurm.
# SIGTERM comes {seconds} seconds before the time limit, to the processes that srun has started and not to this shell
# (so says --signal without B:). Each finishes its step, saves and leaves with exit code 75; only then the job goes back
# into the queue under its number, and main.py continues. scancel signals this shell, too, which dies of it: no requeue.
set -u
launch={launch}
flags=({flags})
"""

BODY = """
# Once, before the processes start side by side.
"$launch" test --version > /dev/null || exit

# The shell around each process outlives the signal, which it gets as well. srun returns the highest exit code of all,
# so a failure (1, 2) is raised above an interruption (75).
process='
trap : TERM INT
"$0" "$@"
code=$?
if [ "$code" -gt 0 ] && [ "$code" -lt 28 ]; then code=$((code + 100)); fi
exit "$code"'

# One that leaves with 75 must not end those that still save.
srun --kill-on-bad-exit=0 --wait=0 bash -c "$process" "$launch" train "${flags[@]}"
code=$?
if [ "$code" -gt 100 ] && [ "$code" -lt 128 ]; then code=$((code - 100)); fi

if [ "$code" -eq 75 ]; then
  echo "interrupted; back into the queue" >&2
  scontrol requeue "$SLURM_JOB_ID" && exit 0
  echo "error: scontrol requeue $SLURM_JOB_ID: failed; submitting the job again continues the run" >&2
fi
exit "$code"
"""


def make_parser() -> Parser:
    parser = Parser("./launch.sh slurm [flags] [-- flags of main.py]", __doc__)
    parser.add_argument("--nodes", type=count, default=1, help="Nodes (1).")
    parser.add_argument("--ntasks_per_node", type=count, default=1, help="Processes a node (1), which train together.")
    parser.add_argument(
        "--time",
        type=matching(
            r"\d+(:\d+){0,2}|\d+-\d+(:\d+){0,2}", "minutes, [hours:]minutes:seconds or days-hours[:minutes...]"
        ),
        help="Limit of one stay, as sbatch takes it; the partition's own if not given.",
    )
    parser.add_argument("--partition", type=matching(r"[\w.,-]+", "the name of a partition"), help="Partition.")
    parser.add_argument(
        "--seconds_to_save",
        type=count,
        default=120,
        help="From SIGTERM to the time limit (120); a step and saving fit in.",
    )
    parser.add_argument("--output", help="File to write, which must not exist; standard output if not given.")
    return parser


def seconds_of(time: str) -> int:
    """A time limit as sbatch takes it, in seconds."""
    days, has_days, clock = time.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if has_days:  # hours[:minutes[:seconds]]
        hours, minutes, seconds = (*parts, 0, 0)[:3]
    else:  # minutes, minutes:seconds, hours:minutes:seconds
        hours, minutes, seconds = {1: (0, *parts, 0), 2: (0, *parts), 3: tuple(parts)}[len(parts)]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def make_script(options: argparse.Namespace, flags: Sequence[str]) -> str:
    """The job script."""
    settings = {
        "job-name": "aux_rnn",
        "nodes": options.nodes,
        "ntasks-per-node": options.ntasks_per_node,
        "time": options.time,
        "partition": options.partition,
        "signal": f"TERM@{options.seconds_to_save}",
        "requeue": True,
        "open-mode": "append",
        "output": "aux_rnn-%j.log",
    }
    lines = [
        f"#SBATCH --{name}" if value is True else f"#SBATCH --{name}={value}"
        for name, value in settings.items()
        if value is not None
    ]
    header = HEADER.format(
        directives="\n".join(lines),
        seconds=options.seconds_to_save,
        launch=shlex.quote(str(LAUNCH)),
        flags=shlex.join(flags),
    )
    return header + BODY


def write_script(script: str, output: str | None) -> None:
    if output is None:
        sys.stdout.write(script)
        return
    try:
        with open(output, "x") as file:
            file.write(script)
    except OSError as error:
        raise UsageError(f"--output={output}: must be a new file in a folder that exists ({error.strerror})") from None


def main(arguments: Sequence[str]) -> int:
    """Writes the script; returns the exit code."""
    own, flags = split_flags(arguments)
    try:
        options = make_parser().parse_args(own)
        least = options.seconds_to_save + SIGNAL_SLACK
        if options.time is not None and seconds_of(options.time) <= least:
            raise UsageError(
                f"--time={options.time}: must be more than the {least} seconds that --seconds_to_save and SLURM's "
                "slack of a minute take"
            )
        write_script(make_script(options, flags), options.output)
    except UsageError as error:
        return report(error, BAD_INPUT)
    return 0
