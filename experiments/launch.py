"""Writes a job script that starts main.py on a cluster: `./launch.sh slurm`.

Only the standard library is needed, so that a machine that starts a run elsewhere need not have what the run needs.
"""

import importlib
import sys
from pathlib import Path

# Where nothing is installed, the package is found in the folder above; its names are loaded when they are asked for.
sys.path.append(str(Path(__file__).parents[1]))

from exits import BAD_INPUT, report

COMMANDS = ("slurm",)


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in COMMANDS:
        return report(f"{arguments[0] if arguments else ''!r}: must be one of {', '.join(COMMANDS)}", BAD_INPUT)
    return importlib.import_module(f"launching.{arguments[0]}").main(arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
