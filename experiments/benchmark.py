"""Measures a training step on random sequences of the right shape; no data set is prepared or read.

  python experiments/benchmark.py step    --flagfile=cifar.flags --length=16384
  python experiments/benchmark.py peer    --flagfile=cifar.flags       # against PyTorch: pip install '.[peer]'
  python experiments/benchmark.py lengths --flagfile=cifar.flags --lengths=1024,4096,16384
  python experiments/benchmark.py scan    --flagfile=cifar.flags       # against --recurrence=scan

step and lengths report time, memory and the share of the speed of a large matrix product; peer and scan compare two
programs pair by pair. Other load on the machine disturbs the times. The table is written to standard output, the
records to --output=FILE, one JSON object per line.
"""

import json
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarking.measurements import measure_lengths, measure_pairs
from benchmarking.options import describe_flags, parse_options
from benchmarking.tables import format_records
from benchmarking.worker import WorkerError, kill_workers
from exits import BAD_INPUT, FAILED, INTERRUPTED, report

from aux_rnn.config.fields import ConfigError


def main(argv: Sequence[str]) -> int:
    records = []
    try:
        if "--help" in argv:
            print(f"{__doc__}\n{describe_flags()}")
            return 0
        options = parse_options(argv)
        measure = measure_pairs if options.command in ("peer", "scan") else measure_lengths
        with tempfile.TemporaryDirectory() as cache:
            for record in measure(options, cache, lambda line: print(line, file=sys.stderr, flush=True)):
                kill_workers()
                records.append(record)
                if options.output:
                    with Path(options.output).expanduser().open("a") as file:
                        file.write(json.dumps(record) + "\n")
        print(format_records(records))
    except ConfigError as error:
        return report(error, BAD_INPUT)
    except (WorkerError, OSError) as error:
        return report(error, FAILED)
    except KeyboardInterrupt:
        return report("interrupted; an incomplete measurement is lost", INTERRUPTED)
    finally:
        kill_workers()
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the workers as well
    sys.exit(main(sys.argv))
