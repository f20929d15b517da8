"""Trains on a Cloud TPU slice: makes it, brings the code there, and makes it again whenever it is preempted.

  ./launch.sh tpu my-slice --project=my-project --zone=us-west4-a --accelerator=v5litepod-8 --spot \\
      --workdir=gs://my-bucket/cifar-p -- --flagfile=cifar.flags --auxiliary=predict

The slice is deleted at the end, also after an error and after Ctrl-C, which lets the run save first (a second one does
not). A slice of that NAME that is there already is used and left. The same command continues a run. --dry_run shows the
commands of gcloud. They were checked against a stand-in for gcloud and have never been run in the cloud.
"""

import argparse
import contextlib
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence

from exits import BAD_INPUT, FAILED, INTERRUPTED, report

from launching.attempts import Attempts, RunError
from launching.gcloud import CommandError, Slice, list_folder, show_file
from launching.grammar import Parser, UsageError, matching, split_flags
from launching.lease import Lease, SliceError
from launching.stopping import StoppedError, catch_stops
from launching.workers import ARCHIVE, install_order, pack, pack_command, train_order

# The images that Google names for JAX.
VERSIONS = {"v5litepod": "v2-alpha-tpuv5-lite", "v5p": "v2-alpha-tpuv5", "v6e": "v2-alpha-tpuv6e"}
OLDER_VERSION = "tpu-ubuntu2204-base"  # v2 to v4


def make_parser() -> Parser:
    parser = Parser("./launch.sh tpu NAME [flags] [-- flags of main.py]", __doc__)
    name, word = r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", r"[A-Za-z0-9][\w.:-]*"
    parser.add_argument("NAME", type=matching(name, "lower-case letters, digits and hyphens"), help="Of the slice.")
    for flag, text in (("zone", "Zone."), ("accelerator", "Type, such as v5litepod-8."), ("project", "Project.")):
        parser.add_argument(f"--{flag}", type=matching(word, f"a name of Google's: {flag}"), help=text, required=True)
    parser.add_argument(
        "--workdir",
        type=matching(r"gs://[^/\s]+/.*[^/]/*", "gs://BUCKET/PATH"),
        help="Folder of the run.",
        required=True,
    )
    parser.add_argument(
        "--version", type=matching(word, "the name of an image"), help="Image; Google's for JAX by default."
    )
    parser.add_argument("--spot", action="store_true", help="Cheaper, and may be preempted.")
    parser.add_argument("--keep", action="store_true", help="Leave the slice at the end.")
    parser.add_argument("--dry_run", action="store_true", help="Only print the commands.")
    parser.add_argument("--poll_seconds", type=float, default=30.0, help="From one look at the slice to the next (30).")
    return parser


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options and the flags of main.py, --workdir included. Raises UsageError."""
    own, flags = split_flags(arguments)
    options = make_parser().parse_args(own)
    if any(flag.lstrip("-").partition("=")[0] == "workdir" for flag in flags):
        raise UsageError("--workdir: goes before --")
    if not 0 < options.poll_seconds < 3600:
        raise UsageError(f"--poll_seconds={options.poll_seconds}: must be above 0 and below 3600")
    options.workdir = options.workdir.rstrip("/")
    return options, [f"--workdir={options.workdir}", *flags]


def make_slice(options: argparse.Namespace) -> Slice:
    version = options.version or VERSIONS.get(options.accelerator.partition("-")[0], OLDER_VERSION)
    return Slice(options.NAME, options.zone, options.project, options.accelerator, version, options.spot)


def plan(options: argparse.Namespace, flags: Sequence[str]) -> Iterator[str]:
    """The commands in their order, with remarks between them, as lines for a shell."""
    where, archive = make_slice(options), f"/tmp/{ARCHIVE}"
    yield shlex.join(pack_command(archive))
    yield "# Is it there? Then it is used and left."
    yield shlex.join(where.describe())
    yield shlex.join(where.create())
    yield f"# Every {options.poll_seconds:g} seconds until the state is ACTIVE:"
    yield shlex.join(where.describe())
    yield shlex.join(where.copy(archive, ARCHIVE))
    yield shlex.join(where.ssh(install_order()))
    yield shlex.join(where.ssh(train_order(flags)))
    yield shlex.join(show_file(f"{options.workdir}/summary.json"))
    yield "# Where that says neither complete nor failed: how far is it? Is the slice there? Then from delete on again."
    yield f"# {shlex.join(list_folder(f'{options.workdir}/checkpoints'))}"
    yield "# At the end, also after an error:" if not options.keep else "# --keep leaves the slice; to delete it:"
    yield ("# " if options.keep else "") + shlex.join(where.delete())


def say(line: str) -> None:
    with contextlib.suppress(OSError):  # of a terminal that is gone; the slice must still be deleted
        print(line, file=sys.stderr, flush=True)


def show(line: str) -> None:
    with contextlib.suppress(OSError):
        print(line, flush=True)


def train(options: argparse.Namespace, flags: Sequence[str]) -> int:
    """Returns the exit code, with a line that says why if it is not 0."""
    code, text = 0, ""
    with catch_stops() as stops, tempfile.TemporaryDirectory() as folder:
        lease = Lease(make_slice(options), options.keep, options.poll_seconds, stops, say)
        try:
            archive = f"{folder}/{ARCHIVE}"
            pack(archive)
            with lease:
                Attempts(lease, archive, options.workdir, flags, stops, say, show).run_to_end()
        except StoppedError:
            code, text = INTERRUPTED, "stopped; the same command continues the run"
        except (RunError, SliceError) as error:
            code, text = error.code, str(error)
        except CommandError as error:
            code, text = FAILED, str(error)
    if lease.is_left:
        left = f"{lease.where.name} could not be deleted and costs money: {shlex.join(lease.where.delete())}"
        code, text = code or FAILED, f"{text}; {left}" if text else left
    if not code:
        say(f"complete; {options.workdir} holds what came out")
    return report(text, code) if code else 0


def main(arguments: Sequence[str]) -> int:
    """Trains to the end; returns the exit code."""
    try:
        options, flags = parse(arguments)
    except UsageError as error:
        return report(error, BAD_INPUT)
    if options.dry_run:
        print("\n".join(plan(options, flags)))
        return 0
    if shutil.which("gcloud") is None:
        return report(
            "gcloud: not on the PATH; https://cloud.google.com/sdk/docs/install says how to get it", BAD_INPUT
        )
    return train(options, flags)
