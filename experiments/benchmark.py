"""Measures a training step on random sequences of the right shape; no data set is prepared or read.

  python experiments/benchmark.py step    --flagfile=cifar.flags --length=16384
  python experiments/benchmark.py peer    --flagfile=cifar.flags       # in turns with PyTorch: pip install '.[peer]'
  python experiments/benchmark.py lengths --flagfile=cifar.flags --lengths=1024,4096,16384
  python experiments/benchmark.py linen   --flagfile=cifar.flags       # in turns with --recurrence=scan

step gives the time of a step, its share of the speed of a large matrix product, compilation and memory; peer and linen
the ratio of two programs' times, pair by pair; lengths how time and memory grow. Anything else on the machine disturbs
the times. The table goes to standard output, the records, one JSON object a line, to --output=FILE.
"""

import json
import signal
import sys
import tempfile
from collections.abc import Sequence

from benchmarking.commands import MEASUREMENTS
from benchmarking.options import Options, describe_flags, parse_options
from benchmarking.processes import WorkerError
from benchmarking.tables import format_records
from exits import BAD_INPUT, FAILED, INTERRUPTED, report

from aux_rnn.settings import ConfigError


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def measure(options: Options) -> None:
    """Prints the table; each record is in the file as soon as it is complete."""
    records = []
    with tempfile.TemporaryDirectory() as cache:
        for record in MEASUREMENTS[options.command](options, cache, say):
            records.append(record)
            if options.output:
                with options.output.open("a") as file:
                    file.write(json.dumps(record) + "\n")
    print(format_records(records))


def main(argv: Sequence[str]) -> int:
    try:
        options = parse_options(argv)
        if options is None:
            print(f"{__doc__}\n{describe_flags()}")
            return 0
        measure(options)
    except ConfigError as error:
        return report(error, BAD_INPUT)
    except (WorkerError, OSError) as error:
        return report(error, FAILED)
    except KeyboardInterrupt:
        return report("interrupted; what was not complete is lost", INTERRUPTED)
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the workers, too
    sys.exit(main(sys.argv))
