"""What the workers of a slice get, and the orders they are given (`on_worker.sh`)."""

import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from launching.gcloud import CommandError, Slice, run, stream

ROOT = Path(__file__).parents[2]
ARCHIVE = "aux_rnn.tar.gz"
ON_WORKER = "aux_rnn/experiments/launching/on_worker.sh"
EXIT_CODE = re.compile(r"aux_rnn: exit code (\d+)\s*$")


def pack_command(archive: str) -> list[str]:
    """Packs the files that git knows, as they are in the folder now."""
    root = shlex.quote(str(ROOT))
    pipeline = f"git -C {root} ls-files -z | tar -C {root} --null -T - -czf {shlex.quote(archive)}"
    return ["bash", "-c", f"set -o pipefail; {pipeline}"]


def pack(archive: str) -> None:
    """Raises CommandError."""
    try:
        run(pack_command(archive))
    except CommandError as error:
        raise CommandError(["git ls-files | tar"], 1, error.output) from None


def install_order() -> str:
    """Ends a run that is still under way from an earlier command, then puts the new code in place."""
    stop = f"if [ -e {ON_WORKER} ]; then bash {ON_WORKER} stop > /dev/null; fi"
    return f"{stop}; rm -rf aux_rnn && mkdir aux_rnn && tar -xzf {ARCHIVE} -C aux_rnn && bash {ON_WORKER} install"


def train_order(flags: Sequence[str]) -> str:
    return shlex.join(["bash", ON_WORKER, "train", *flags])


def stop_order() -> str:
    return f"bash {ON_WORKER} stop"


class Order:
    """An order to all workers: shows what they say, and collects their exit codes.

    Attributes:
      codes: of those that have ended, in the order of their ends; not of one whose connection was lost.
      last_error: the last line in which main.py named an error.
      output: what gcloud itself said.
    """

    def __init__(self, command: list[str], show: Callable[[str], None], show_error: Callable[[str], None]) -> None:
        self.command = command
        self.codes: list[int] = []
        self.last_error = ""
        self.output: list[str] = []
        self._show, self._show_error = show, show_error

    def _note(self, line: str) -> None:
        if match := EXIT_CODE.search(line):
            self.codes.append(int(match.group(1)))
            line = line[: match.start()]
        if line.startswith("error: "):
            self.last_error = line.removeprefix("error: ")
        if line.strip():
            self._show(line)

    def _note_error(self, line: str) -> None:
        self.output.append(line)
        self._show_error(line)

    def give(self, look: Callable[[], None]) -> int:
        """Returns gcloud's exit code; see `stream` for `look`."""
        return stream(self.command, self._note, self._note_error, look)


def copy_and_install(
    where: Slice, archive: str, show: Callable[[str], None], show_error: Callable[[str], None], look: Callable[[], None]
) -> int:
    """Returns the number of workers. Raises CommandError, StoppedError."""
    for command in (where.copy(archive, ARCHIVE), where.ssh(install_order())):
        order = Order(command, show, show_error)
        if code := order.give(look):
            said = [order.last_error] if order.last_error else order.output
            raise CommandError(command, code, "\n".join(said))
    return max(1, len(order.codes))
