"""Tar archives that may be damaged, or made to do harm.

Members are read one after the other, in bounded memory and only forwards. Nothing is ever unpacked to disk, a link is
never followed, and what is not asked for is passed over.
"""

import contextlib
import functools
import gzip
import tarfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

from aux_rnn.datasets.errors import DataError
from aux_rnn.errors import first_line

GZIP = b"\x1f\x8b"
PIECE_BYTES = 1 << 16
SMALL_BYTES = 16 << 20

# What comes before the content of a member: its name, its times and the like, some hundred bytes.
LARGEST_HEADERS = 16 << 10
# The largest of the published archives has 800 MB, the largest compressed one 200 MB when unpacked.
LARGEST_ARCHIVE = 4 << 30


class ForwardFile:
    """A file for `tarfile` that refuses what no sound archive makes it ask for.

    Python's tarfile goes back for a negative size, and takes headers of any size into memory.

    Attributes:
      headers_left: bytes that headers may still have; None while content is read.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.headers_left: int | None = None

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, position: int) -> int:
        if not self.tell() <= position <= LARGEST_ARCHIVE:
            raise tarfile.ReadError(f"a member at {position:,} bytes, after {self.tell():,}")
        return self._file.seek(position)

    def read(self, size: int) -> bytes:
        if self.headers_left is not None:
            if not 0 <= size <= self.headers_left:
                raise tarfile.ReadError(f"headers of more than {LARGEST_HEADERS:,} bytes")
            self.headers_left -= size
        return self._file.read(size)


class Member(NamedTuple):
    """A member of an archive, before the next one is asked for.

    Attributes:
      name: without `./` before it.
      size: in bytes.
      offset: where its content begins in the archive, in bytes.
      is_file: whether it is a regular file: no link, folder or device, and none with holes.
      open: opens its content for reading.
    """

    name: str
    size: int
    offset: int
    is_file: bool
    open: Callable[[], Any]

    def read(self) -> bytes:
        """The whole content; raises tarfile.ReadError if there is less than the header says."""
        stream = self.open()
        content = b"".join(iter(functools.partial(stream.read, PIECE_BYTES), b""))
        if len(content) != self.size:
            raise tarfile.ReadError(f"{self.name} is cut short")
        return content


@contextlib.contextmanager
def reporting_damage(archive: Path) -> Iterator[None]:
    """Turns whatever goes wrong into a DataError that names the archive."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # tarfile raises many kinds of errors for damaged headers
        raise DataError(f"{archive}: damaged archive ({first_line(error)})") from error


def is_compressed(archive: Path) -> bool:
    """Whether a file was compressed by gzip."""
    with archive.open("rb") as file:
        return file.read(len(GZIP)) == GZIP


def iterate_members(archive: Path) -> Iterator[Member]:
    """Yields the members of a tar archive, plain or compressed by gzip; to be used within `reporting_damage`.

    A compressed archive that was read to its end has been held against its checksum.
    """
    compressed = is_compressed(archive)
    opener: Any = gzip.open if compressed else open
    with opener(archive, "rb") as file:
        forward: Any = ForwardFile(file)
        forward.headers_left = LARGEST_HEADERS
        with tarfile.open(fileobj=forward, mode="r:") as tar:
            while (member := tar.next()) is not None:
                if member.size < 0:
                    raise tarfile.ReadError(f"a member of {member.size:,} bytes")
                forward.headers_left = None
                name, content = member.name.removeprefix("./"), functools.partial(tar.extractfile, member)
                yield Member(name, member.size, member.offset_data, is_plain_file(member), content)
                forward.headers_left = LARGEST_HEADERS
                # What tarfile keeps of earlier members would only take memory.
                tar.members = []  # type: ignore[attr-defined]
                tar.pax_headers = {}
        while compressed and file.read(PIECE_BYTES):
            if file.tell() > LARGEST_ARCHIVE:
                raise tarfile.ReadError(f"more than {LARGEST_ARCHIVE:,} bytes")


def is_plain_file(member: tarfile.TarInfo) -> bool:
    return member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()


def iterate_wanted(archive: Path, largest: Mapping[str, int]) -> Iterator[Member]:
    """Yields those members of an archive that are asked for, `{name: largest size}`, and reads it to its end.

    Raises:
      DataError: one is a link or the like, too large, or there a second time.
    """
    seen = set[str]()
    for member in iterate_members(archive):
        if member.name not in largest:
            continue
        if not member.is_file or member.size > largest[member.name] or member.name in seen:
            raise DataError(f"{archive}: damaged, {member.name} is not the expected regular file")
        seen.add(member.name)
        yield member


def check_complete(archive: Path, names: Iterable[str], found: Collection[str]) -> None:
    """Raises DataError unless all names were found."""
    if missing := [name for name in names if name not in found]:
        raise DataError(f"{archive}: damaged, it lacks {', '.join(missing)}")


def read_members(archive: Path, sizes: Mapping[str, int]) -> Iterator[tuple[str, bytes]]:
    """Reads files of known sizes, in the order of the archive.

    Args:
      archive: the archive.
      sizes: `{member name: bytes}` of the wanted files; other members are passed over.

    Yields:
      Name and content of each wanted file, once.

    Raises:
      DataError: the archive is damaged, lacks a file, or has it as a link, a second time or with another size.
    """
    found = []
    with reporting_damage(archive):
        for member in iterate_wanted(archive, sizes):
            if member.size != sizes[member.name]:
                raise DataError(f"{archive}: damaged, {member.name} is not the expected regular file")
            found.append(member.name)
            yield member.name, member.read()
    check_complete(archive, sizes, found)


def read_small_members(archive: Path, names: Collection[str], others: Collection[str] = ()) -> dict[str, bytes]:
    """Reads small files.

    Args:
      archive: the archive.
      names: the wanted files; other members are passed over.
      others: files of any size that must be there, too.

    Returns:
      `{name: content}`.

    Raises:
      DataError: the archive is damaged, lacks a file, or has it as a link, a second time or far too large.
    """
    largest = {**dict.fromkeys(names, SMALL_BYTES), **dict.fromkeys(others, LARGEST_ARCHIVE)}
    contents = {}
    with reporting_damage(archive):
        for member in iterate_wanted(archive, largest):
            contents[member.name] = member.read() if member.name in names else b""
    check_complete(archive, largest, contents)
    return {name: contents[name] for name in names}
