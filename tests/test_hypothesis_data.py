"""Damaged official files: each is read as arrays of the right shape, or refused in one line that names it.

`tests/properties.py` says how to run these tests with more examples.
"""

import gzip
import io
import struct
import tarfile
import tempfile
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from properties import assert_one_line, damages, examples
from scipy.io import savemat

from aux_rnn.datasets import DataError, breeds, dogs, matlab, parsing, texts


def write(folder, name, content):
    path = Path(folder) / name
    path.write_bytes(content)
    return path


def measure_peak(function):
    """The most memory, in bytes, that a refused file takes."""
    tracemalloc.start()
    with pytest.raises(DataError) as caught:
        function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert_one_line(caught.value)
    return peak


# MNIST's files.

IDX = struct.pack(">4B3I", 0, 0, 8, 3, 5, 4, 3) + bytes(range(60))


@examples(200)
@given(st.one_of(st.just(IDX), st.binary(max_size=100)), damages(), damages())
@example(struct.pack(">4B3I", 0, 0, 8, 3, 2**32 - 1, 4, 3), lambda content: content, lambda content: content)
def test_any_idx_file_is_an_array_or_refused(content, damage, damage_again):
    with tempfile.TemporaryDirectory() as folder:
        path = write(folder, "images.gz", damage_again(gzip.compress(damage(content), 1)))
        try:
            array = parsing.read_idx(path, (0, 4, 3))
        except DataError as error:
            assert_one_line(error, str(path))
        else:
            assert (array.dtype, array.shape[1:]) == (np.uint8, (4, 3))


def test_an_idx_file_that_unpacks_to_gigabytes_takes_little_memory(tmp_path):
    packer = zlib.compressobj(1, wbits=31)
    header = struct.pack(">4B3I", 0, 0, 8, 3, 2**32 - 1, 28, 28)
    content = [packer.compress(header), *(packer.compress(bytes(2**20)) for _ in range(512)), packer.flush()]
    path = write(tmp_path, "images.gz", b"".join(content))
    assert measure_peak(lambda: parsing.read_idx(path, (0, 28, 28))) < 2.5 * parsing.LARGEST_IDX


# CIFAR-10's batches.


@examples(50)
@given(st.integers(0, 3 * 3073), st.integers(0, 255))
def test_any_batch_of_cifar_is_images_or_refused(size, value):
    try:
        images, labels = parsing.parse_cifar_batch(bytes([value]) * size, "batch")
        parsing.check_examples(images, labels, 10, "batch")
    except DataError as error:
        assert_one_line(error, "batch")
    else:
        assert images.shape == (size // 3073, 32, 32, 3)
        assert labels.tolist() == [value] * len(images)


# DBpedia's articles.

ARTICLES = b'1,"Title","An ""abstract"""\n14,"a","b\nc"\n'


@examples(200)
@given(st.one_of(st.just(ARTICLES), st.binary(max_size=100)), damages())
@example(b'1,"\xed\xa0\x80","b"\n', lambda content: content)
@example(b"1,a,b\r2,c,d\n", lambda content: content)
def test_any_articles_are_texts_or_refused(content, damage):
    rows = texts.read_csv(io.BytesIO(damage(content)), "train.csv")
    try:
        articles = list(texts.parse_articles(rows, "train.csv", 14))
    except DataError as error:
        assert_one_line(error, "train.csv, row ")
    else:
        assert all(0 < len(text) <= texts.DBPEDIA_LONGEST and 0 <= label < 14 for text, label in articles)


@pytest.mark.parametrize("line", [b"a" * 100, b'"\n",', b'"a","\n', b",", b'"'])
def test_a_row_without_end_takes_little_memory(line):
    class Endless(io.RawIOBase):
        def readable(self):
            return True

        def readinto(self, buffer):
            content = line * (len(buffer) // len(line) + 1)
            buffer[:] = content[: len(buffer)]
            return len(buffer)

    rows = texts.read_csv(io.BufferedReader(Endless()), "train.csv")
    assert measure_peak(lambda: list(texts.parse_articles(rows, "train.csv", 14))) < 100 * texts.LARGEST_ROW


# Stanford Dogs' lists and photographs.

FILES = ["n01-Afghan/1.jpg", "n02-Basenji/2.jpg", "n02-Basenji/3.jpg"]


def make_list(files=FILES, labels=(1, 2, 2), is_compressed=False):
    cells = np.empty((len(files), 1), object)
    cells[:, 0] = files
    stream = io.BytesIO()
    variables = {"file_list": cells, "annotation_list": cells, "labels": np.array(labels, float)[:, None]}
    savemat(stream, variables, do_compression=is_compressed)
    return stream.getvalue()


def make_element(kind, content):
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def make_array(array_class, sizes, name, *contents):
    head = make_element(6, struct.pack("<II", array_class, 0)) + make_element(5, struct.pack(f"<{len(sizes)}i", *sizes))
    return make_element(matlab.ARRAY, head + make_element(1, name) + b"".join(contents))


def make_matlab_file(*elements):
    return bytes(matlab.HEADER_BYTES - 4) + matlab.LITTLE_ENDIAN + b"".join(elements)


def nest(array, depth):
    """Cells in cells in cells; each level has the bytes of all below it, so it is put together from the outside."""
    heads, size = [], len(array)
    for _ in range(depth):
        head = make_array(matlab.CELL, (1, 1), b"file_list")[8:]
        heads.append(struct.pack("<II", matlab.ARRAY, len(head) + size) + head)
        size += len(heads[-1])
    return b"".join([*reversed(heads), array])


TEXT = make_array(matlab.CHAR, (1, 1), b"", make_element(16, b"a"))
LISTS = {
    "so many cells": make_matlab_file(make_array(matlab.CELL, (2**31 - 1, 2**31 - 1), b"file_list")),
    "fewer than none": make_matlab_file(make_array(matlab.CELL, (-1, 1), b"file_list")),
    "so long a text": make_matlab_file(
        make_array(
            matlab.CELL, (1, 1), b"file_list", make_array(matlab.CHAR, (2**31 - 1, 1), b"", make_element(1, b""))
        )
    ),
    "so many numbers": make_matlab_file(make_array(6, (2**31 - 1, 2**20), b"labels", make_element(2, b""))),
    "cells in cells": make_matlab_file(nest(TEXT, 3)),
    "cells in cells without end": make_matlab_file(nest(TEXT, 100_000)),
    "an object": make_matlab_file(make_array(3, (1, 1), b"file_list", make_element(1, b"os.system"))),
    "a function": make_matlab_file(make_array(16, (1, 1), b"file_list", TEXT)),
    "half a number": make_matlab_file(make_array(6, (1, 1), b"labels", make_element(9, b"abc"))),
}


@examples(200)
@given(st.one_of(st.sampled_from([make_list(), make_list(is_compressed=True)]), st.binary(max_size=300)), damages())
def test_any_list_is_names_and_labels_or_refused(content, damage):
    try:
        found = breeds.parse_list(damage(content), "train_list.mat")
    except DataError as error:
        assert_one_line(error, "train_list.mat: damaged")
    else:
        assert len(found.names) == len(found.labels) > 0
        assert all(name.startswith("Images/") and name.isprintable() for name in found.names)
        assert 0 <= found.labels.min() <= found.labels.max() < breeds.NUM_BREEDS


@examples(100)
@given(
    st.lists(st.one_of(st.text(max_size=10), st.sampled_from(["a/b", "ä/b", "日本/犬 2"])), max_size=5),
    st.lists(st.one_of(st.integers(1, 120), st.floats()), max_size=5),
    st.booleans(),
)
@example(["a/b", "ä/b", "日本/犬 2"], [1, 2, 120], True)
@example(["a/b"], [float("nan")], False)
@example(["a/b"], [1.5], False)
@example(["../a/b"], [1], False)
@example(["a\n/b"], [1], False)
def test_lists_of_any_texts_and_numbers_are_names_and_labels_or_refused(files, labels, is_compressed):
    try:
        found = breeds.parse_list(make_list(files, labels, is_compressed), "train_list.mat")
    except DataError as error:
        assert_one_line(error, "train_list.mat: damaged")
    else:
        assert found.names == [f"Images/{file}" for file in files]
        assert found.labels.tolist() == [label - 1 for label in labels]


@pytest.mark.parametrize("name", LISTS)
def test_lists_made_to_do_harm_take_little_memory(name):
    assert measure_peak(lambda: breeds.parse_list(LISTS[name], name)) < 2**20


def test_a_list_that_unpacks_to_gigabytes_takes_little_memory():
    packed = zlib.compress(make_element(matlab.ARRAY, bytes(4 * matlab.LARGEST)), 1)
    bomb = make_matlab_file(struct.pack("<II", matlab.COMPRESSED, len(packed)) + packed)
    assert measure_peak(lambda: breeds.parse_list(bomb, "train_list.mat")) < 2.5 * matlab.LARGEST


@pytest.mark.parametrize(
    ("files", "labels", "message"),
    [
        (["a/1", "b/1"], [1, 1], "the label 1 is a and b"),
        (["a/1", "a/2"], [1, 2], "a has the labels 1 and 2"),
        (["breed-7/1"], [1], "two labels are breed-7"),
    ],
)
def test_lists_that_contradict_themselves_are_refused(files, labels, message, tmp_path):
    with tarfile.open(tmp_path / "lists.tar", "w") as tar:
        for name, content in (("train", make_list(files, labels)), ("test", make_list(["z/9"], [120]))):
            member = tarfile.TarInfo(f"{name}_list.mat")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    with pytest.raises(DataError, match=message) as caught:
        breeds.read_lists(tmp_path / "lists.tar")
    assert_one_line(caught.value, "lists.tar: damaged")


def make_photograph(file_format):
    colours = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(colours).save(stream, file_format)
    return stream.getvalue()


PHOTOGRAPHS = [make_photograph("JPEG"), make_photograph("PNG")]


@examples(200)
@given(st.one_of(st.sampled_from(PHOTOGRAPHS), st.binary(max_size=50)), damages())
def test_any_photograph_is_decoded_or_refused(recwarn, content, damage):
    try:
        image = dogs.decode_square(damage(content), 28, "toy")
    except DataError as error:
        assert_one_line(error, "toy: damaged, no photograph")
    else:
        assert (image.shape, image.dtype) == ((28, 28, 3), np.uint8)
    assert not list(recwarn)


@pytest.mark.parametrize("side", [dogs.LARGEST_SIDE + 1, 10_000, 60_000])
def test_a_photograph_of_absurd_size_takes_little_memory_and_no_warning(recwarn, side):
    def make_chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = make_chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n" + header + make_chunk(b"IDAT", zlib.compress(bytes(1000))) + make_chunk(b"IEND", b"")
    assert measure_peak(lambda: dogs.decode_square(content, 28, "toy")) < 2**20
    assert not list(recwarn)
