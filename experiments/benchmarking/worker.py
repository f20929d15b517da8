"""A worker process: measures one program, on request. `python -m benchmarking.worker ours` or `... peer`.

A request is a line of JSON on standard input, `{"do": "step", ...arguments}`; so is the reply on standard output, with
one of `answer`, `refused` (a setting will not do; the text says why) and `failed`. The process ends with its input.
"""

import importlib
import json
import os
import sys
import traceback
from typing import Any, TextIO

from aux_rnn.settings import ConfigError

# The environment that the program is started with, as far as it makes a difference to speed.
VARIABLES = ("XLA_FLAGS", "GLIBC_TUNABLES", "THP_MEM_ALLOC_ENABLE", "OMP_NUM_THREADS", "JAX_PLATFORMS")


def take_standard_output() -> TextIO:
    """Keeps standard output for replies; what libraries print goes where errors go."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return replies


def answer(program: Any, request: dict[str, Any]) -> dict[str, Any]:
    name = request.pop("do")
    try:
        return {"answer": getattr(program, name)(**request)}
    except ConfigError as error:
        return {"refused": str(error)}
    except Exception as error:
        traceback.print_exc()
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), "no more is known")
        return {"failed": f"{type(error).__name__}: {first}"}


def main(name: str) -> None:
    replies = take_standard_output()
    program = importlib.import_module(f"benchmarking.{name}").Program()
    for line in sys.stdin:
        print(json.dumps(answer(program, json.loads(line))), file=replies, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
