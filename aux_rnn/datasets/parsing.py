"""The file formats of the official data, read with plain gzip, tarfile and numpy."""

import gzip
import math
import tarfile
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from aux_rnn.datasets.download import first_line
from aux_rnn.datasets.errors import DataError

IDX_UINT8 = 0x08
CIFAR_SHAPE = (3, 32, 32)
SMALL_BYTES = 16 << 20
PIECE_BYTES = 1 << 20


def read_idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Reads an idx file of bytes, compressed with gzip.

    The format: two zero bytes, the code of the element type, the number of axes, the size of each axis as a big-endian
    uint32, then the elements.

    Args:
      path: the file.
      shape: what the header must say; 0 accepts any size of that axis.

    Returns:
      uint8 array of that shape.

    Raises:
      DataError: the file is damaged, or holds something else.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged or no gzip file ({error})") from error
    start = 4 + 4 * len(shape)
    magic = bytes([0, 0, IDX_UINT8, len(shape)])
    if content[:4] != magic:
        raise DataError(f"{path}: damaged, starts with {content[:4].hex() or 'nothing'} instead of {magic.hex()}")
    sizes = tuple(np.frombuffer(content[4:start].ljust(start - 4, b"\0"), ">u4").tolist())
    if any(expected not in (0, size) for size, expected in zip(sizes, shape, strict=True)):
        raise DataError(f"{path}: damaged, its header says shape {sizes} instead of {shape}")
    if len(content) != start + math.prod(sizes):
        raise DataError(f"{path}: damaged, {len(content) - start:,} bytes of data instead of {math.prod(sizes):,}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(sizes)


def parse_cifar_batch(content: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Splits one binary batch of CIFAR-10, whose records are a label and the red, green and blue plane.

    Args:
      content: the whole file.
      name: what to call it in an error.

    Returns:
      Images uint8 [N, 32, 32, 3] and labels uint8 [N].

    Raises:
      DataError: the length is no whole number of records.
    """
    record_bytes = 1 + math.prod(CIFAR_SHAPE)
    if not content or len(content) % record_bytes:
        raise DataError(f"{name}: damaged, {len(content):,} bytes are no whole number of {record_bytes:,}-byte records")
    records = np.frombuffer(content, np.uint8).reshape(-1, record_bytes)
    return records[:, 1:].reshape(-1, *CIFAR_SHAPE).transpose(0, 2, 3, 1), records[:, 0]


def check_gzip(path: Path) -> None:
    """Reads a gzip file to its end, where its checksum is; whoever stops at the last byte he wants never meets it.

    Raises:
      DataError: the file is damaged, or no gzip file.
    """
    try:
        with gzip.open(path) as stream:
            while stream.read(PIECE_BYTES):
                pass
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged or no gzip file ({error})") from error


def read_members(archive: Path, sizes: Mapping[str, int]) -> Iterator[tuple[str, bytes]]:
    """Reads files out of a compressed tar archive, in the order of the archive; nothing is written to disk.

    Args:
      archive: the archive.
      sizes: `{member name: bytes}` of the wanted files; other members are passed over.

    Yields:
      Name and content of each wanted file, once.

    Raises:
      DataError: the archive is damaged, lacks a file, or has it as a link, a second time or with another size.
    """
    wanted = dict(sizes)
    try:
        with tarfile.open(archive, "r|gz") as tar:
            for member in tar:
                if not wanted:
                    break
                if member.name not in sizes:
                    continue
                stream = tar.extractfile(member) if member.isreg() else None
                if stream is None or member.size != wanted.pop(member.name, -1):
                    raise DataError(f"{archive}: damaged, {member.name} is not the expected regular file")
                content = stream.read()
                if len(content) != member.size:
                    raise DataError(f"{archive}: damaged, {member.name} is cut short")
                yield member.name, content
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise DataError(f"{archive}: damaged archive ({first_line(error)})") from error
    if wanted:
        raise DataError(f"{archive}: damaged, it lacks {', '.join(wanted)}")


def read_small_members(archive: Path, names: Collection[str]) -> dict[str, bytes]:
    """Reads small files out of a tar archive, compressed or not; nothing is written to disk.

    Raises:
      DataError: the archive is damaged, lacks a file, or has it as a link, a second time or far too large.
    """
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = member.name.removeprefix("./")
                if name not in names:
                    continue
                stream = tar.extractfile(member) if member.isreg() and member.size <= SMALL_BYTES else None
                if stream is None or name in contents:
                    raise DataError(f"{archive}: damaged, {name} is not the expected regular file")
                contents[name] = stream.read()
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise DataError(f"{archive}: damaged archive ({first_line(error)})") from error
    lacking = [name for name in names if name not in contents]
    if lacking:
        raise DataError(f"{archive}: damaged, it lacks {', '.join(lacking)}")
    return contents


def check_examples(inputs: np.ndarray | Sequence[np.ndarray], labels: np.ndarray, num_classes: int, name: str) -> None:
    """Raises DataError unless there is one label for each image or text and every label is a class."""
    if len(inputs) != len(labels):
        raise DataError(f"{name}: damaged, {len(inputs):,} images but {len(labels):,} labels")
    if len(labels) and labels.max() >= num_classes:
        raise DataError(f"{name}: damaged, label {labels.max()} is none of the {num_classes} classes")
