"""Lists of texts and of numbers in MATLAB's files (level 5, as MATLAB 5 to 7.2 and scipy write them).

No more memory is taken than the file has bytes of content, whatever its headers say, and nothing is read that is not a
text or a number. scipy's own reader takes gigabytes for a file of some hundred bytes, or ends the process.

A file is a header of 128 bytes and elements: a kind, a number of bytes, the content, zeros up to a multiple of eight.
Short ones are packed into eight bytes. An array is an element made of elements: its class, its sizes, its name, and its
content. A variable is an array, which may be compressed.
"""

import itertools
import math
import struct
import zlib
from collections.abc import Collection, Iterator

import numpy as np

LITTLE_ENDIAN = b"\x00\x01IM"
HEADER_BYTES = 128
LARGEST = 64 << 20  # bytes of an array when it is unpacked; the published lists have some 5 MB

# Kinds of elements.
ARRAY, COMPRESSED = 14, 15
NUMBERS = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}
TEXTS = {1: "ascii", 2: "ascii", 4: "utf-16-le", 16: "utf-8", 17: "utf-16-le"}

# Classes of arrays: lists of arrays, texts, and numbers from float64 to uint64.
CELL, CHAR, NUMERIC = 1, 4, range(6, 16)


def read_variables(content: bytes, names: Collection[str]) -> dict[str, np.ndarray | list[str]]:
    """Reads variables that are lists of texts, or numbers.

    Args:
      content: the whole file.
      names: the variables that are wanted; others are passed over.

    Returns:
      `{name: list of texts, or numbers of any type [N]}`, of the names that there are.

    Raises:
      ValueError, zlib.error: the file is damaged, or a variable is something else.
    """
    if content[HEADER_BYTES - 4 : HEADER_BYTES] != LITTLE_ENDIAN:
        raise ValueError("no MATLAB file of level 5")
    variables: dict[str, np.ndarray | list[str]] = {}
    for kind, data in split_elements(memoryview(content)[HEADER_BYTES:]):
        if kind == COMPRESSED:
            kind, data = next(split_elements(unpack(data)), (0, data))
        if kind != ARRAY:
            raise ValueError(f"an element of kind {kind} where a variable should be")
        name, array_class, size, parts = open_array(data)
        if name in variables:
            raise ValueError(f"the variable {name} twice")
        if name in names:
            variables[name] = read_texts(size, parts) if array_class == CELL else read_numbers(array_class, size, parts)
    return variables


def split_elements(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yields kind and content of each element."""
    start = 0
    while start < len(content):
        if len(content) - start < 8:
            raise ValueError("cut short")
        kind, size = struct.unpack_from("<II", content, start)
        start += 8
        if kind >> 16:  # a short one
            kind, size, start = kind & 0xFFFF, kind >> 16, start - 4
        if start + size > len(content):
            raise ValueError("cut short")
        yield kind, content[start : start + size]
        start += size
        if kind != COMPRESSED:
            start += -start % 8


def unpack(data: memoryview) -> memoryview:
    """What was compressed, if it is complete and not unreasonably large."""
    stream = zlib.decompressobj()
    content = stream.decompress(data, LARGEST)
    if not stream.eof:
        raise ValueError("a compressed variable is cut short or too large")
    return memoryview(content)


def open_array(data: memoryview) -> tuple[str, int, int, Iterator[tuple[int, memoryview]]]:
    """Name and class of an array, how many elements it says it has, and what follows."""
    parts = split_elements(data)
    head = [bytes(part) for _, part in itertools.islice(parts, 3)]
    if len(head) < 3 or not head[0] or len(head[1]) % 4:
        raise ValueError("an array without class, sizes or name")
    sizes = np.frombuffer(head[1], "<i4").tolist()
    return head[2].decode("ascii"), head[0][0], math.prod(sizes), parts


def read_texts(size: int, parts: Iterator[tuple[int, memoryview]]) -> list[str]:
    """The texts in a cell array."""
    texts = []
    for kind, data in parts:
        if kind != ARRAY:
            raise ValueError("a cell that holds no array")
        _, array_class, _, own_parts = open_array(data)
        own_kind, characters = next(own_parts, (0, b""))
        if array_class != CHAR or own_kind not in TEXTS:
            raise ValueError("a cell that holds no text")
        texts.append(bytes(characters).decode(TEXTS[own_kind]))
    if len(texts) != size:
        raise ValueError(f"{len(texts):,} cells where there should be {size:,}")
    return texts


def read_numbers(array_class: int, size: int, parts: Iterator[tuple[int, memoryview]]) -> np.ndarray:
    """The numbers in a numeric array; MATLAB stores them in the smallest type that holds them."""
    kind, data = next(parts, (0, memoryview(b"")))
    if array_class not in NUMERIC or kind not in NUMBERS or len(data) % np.dtype(NUMBERS[kind]).itemsize:
        raise ValueError("a variable that holds no numbers")
    numbers = np.frombuffer(data, NUMBERS[kind])
    if len(numbers) != size:
        raise ValueError(f"{len(numbers):,} numbers where there should be {size:,}")
    return numbers
