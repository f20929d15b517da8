"""The file formats of the official data, read with plain gzip and numpy."""

import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from aux_rnn.datasets.errors import DataError

IDX_UINT8 = 0x08
CIFAR_SHAPE = (3, 32, 32)
LARGEST_IDX = 64 << 20  # the largest of the official files has 47 MB when unpacked


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
        with gzip.open(path) as stream:
            content = stream.read(LARGEST_IDX + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged or no gzip file ({error})") from error
    if len(content) > LARGEST_IDX:
        raise DataError(f"{path}: damaged, more than {LARGEST_IDX:,} bytes when unpacked")
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


def check_examples(inputs: np.ndarray | Sequence[np.ndarray], labels: np.ndarray, num_classes: int, name: str) -> None:
    """Raises DataError unless there is one label for each image or text and every label is a class."""
    if len(inputs) != len(labels):
        raise DataError(f"{name}: damaged, {len(inputs):,} images but {len(labels):,} labels")
    if len(labels) and labels.max() >= num_classes:
        raise DataError(f"{name}: damaged, label {labels.max()} is none of the {num_classes} classes")
