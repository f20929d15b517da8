"""Reproduces a table or a figure of the paper: plans its runs, carries out what is missing, and writes a report.

  python experiments/reproduce.py table2 --preset=digits --seeds=5
  python experiments/reproduce.py lengths --preset=small --manual_dir=DEST --dry_run
  python experiments/reproduce.py bptt --shard=1/4        # on the first of four machines

NAME is table2 (accuracy by model and truncation), lengths (accuracy, time and memory against length), bptt (accuracy as
the gradient is cut shorter), curves (training and test curves), text (DBpedia by character) or ablations (one setting
changed at a time). Ctrl-C stops and saves; the same command continues. Presets: paper (the paper's data and settings),
small (real data, shrunken), digits (stand-ins that need no network, minutes); their values are in
experiments/reproduction/presets.py.
"""

import sys
from collections.abc import Sequence

from absl import logging
from exits import BAD_INPUT, FAILED, INTERRUPTED, report
from reproduction.options import describe_flags, parse_options
from reproduction.records import RecordError
from reproduction.session import Session

from aux_rnn.settings import ConfigError


def main(argv: Sequence[str]) -> int:
    logging.set_verbosity(logging.WARNING)
    try:
        options = parse_options(argv)
        if options is None:
            print(f"{__doc__}\n{describe_flags()}")
            return 0
        return Session(options).run()
    except (ConfigError, RecordError) as error:
        return report(error, BAD_INPUT)
    except OSError as error:
        return report(error, FAILED)
    except KeyboardInterrupt:
        return report("interrupted; nothing was lost", INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
