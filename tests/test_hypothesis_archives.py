"""Archives made to do harm: what is asked for is read or refused in one line, nothing is written, no link is followed.

`tests/properties.py` says how to run these tests with more examples.
"""

import gzip
import itertools
import tempfile
import tracemalloc
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import assert_one_line, damages, examples

from aux_rnn.datasets import DataError, archives, dogs, texts

BLOCK = 512
END = bytes(2 * BLOCK)
WANTED = ("data/a", "data/b")
SECRET = b"nobody may read this"


def make_size(size):
    """A size as a header has it: octal, or in base 256 where that is too short or the size is negative."""
    if 0 <= size < 8**11:
        return b"%011o\0" % size
    return (b"\x80" if size >= 0 else b"\xff") + (size % 2**88).to_bytes(11, "big")


def make_header(name, size, kind=b"0", link=b""):
    header = bytearray(BLOCK)
    fields = {0: name[:100], 100: b"0000644\0", 108: b"0000000\0", 116: b"0000000\0", 124: make_size(size)}
    fields |= {136: b"00000000000\0", 148: b" " * 8, 156: kind, 157: link[:100], 257: b"ustar\x0000"}
    for place, field in fields.items():
        header[place : place + len(field)] = field
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def make_member(name, content, kind=b"0", link=b"", size=None):
    size = len(content) if size is None else size
    return make_header(name, size, kind, link) + content + bytes(-len(content) % BLOCK)


def make_pax(records, kind=b"x"):
    """A header of the newer kind, with records that stand for the fields of the member after it."""
    content = b""
    for name, value in records.items():
        rest = b" %s=%s\n" % (name, value)
        length = next(n for n in itertools.count(len(rest)) if n == len(rest) + len(str(n)))
        content += str(length).encode() + rest
    return make_member(b"pax", content, kind)


def compress(blocks):
    packer = zlib.compressobj(1, wbits=31)
    return b"".join([*map(packer.compress, blocks), packer.flush()])


# Names and kinds of members that are up to something, beside the ones that are asked for.
NAMES = st.one_of(
    st.sampled_from(
        [*WANTED, "./data/a", "data//a", "data/a/", "../secret", "/etc/passwd", "data", "", "x/" * 60, "\x1b"]
    ),
    st.text(max_size=8),
).map(lambda name: name.encode("utf-8", "surrogateescape"))
KINDS = st.sampled_from(
    [b"0"] * 8 + [b"\0", b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"L", b"K", b"x", b"g", b"S", b"?"]
)
SIZES = st.one_of(st.none(), st.sampled_from([-BLOCK, -2 * BLOCK, -1, 0, 1, 2**33, 2**62, 2**87]), st.integers(0, 2000))
MEMBERS = st.builds(
    make_member, NAMES, st.binary(max_size=600), KINDS, st.sampled_from([b"", b"../secret", b"data/b"]), SIZES
)
PAX_NAMES = (
    b"path linkpath size mtime hdrcharset GNU.sparse.map GNU.sparse.size GNU.sparse.major GNU.sparse.minor".split()
)
PAX = st.builds(
    make_pax,
    st.dictionaries(
        st.sampled_from([*PAX_NAMES, b"GNU.sparse.numblocks", b"GNU.sparse.realsize", b"GNU.sparse.name"]),
        st.one_of(
            st.binary(max_size=10), st.sampled_from([b"data/a", b"1", b"0", b"-1024", b"9" * 30, b"1,2,3", b"a,b"])
        ),
        max_size=4,
    ),
    st.sampled_from([b"x", b"g"]),
)
ARCHIVES = st.lists(st.one_of(MEMBERS, PAX), max_size=6).map(lambda members: b"".join([*members, END]))


def read_everything(archive):
    """All that each of the readers makes of an archive; a DataError, too, must be one line that names it."""
    readers = (
        lambda: [content for _, content in archives.read_members(archive, dict.fromkeys(WANTED, 20))],
        lambda: list(archives.read_small_members(archive, WANTED).values()),
        lambda: archives.read_small_members(archive, WANTED[:1], WANTED[1:]).values(),
        lambda: [",".join(row).encode() for row in texts.read_rows(archive, WANTED[0])],
        lambda: [read_place(archive, place) for place in dogs.index_members(archive, WANTED).values()],
    )
    found = []
    for reader in readers:
        try:
            found += reader()
        except DataError as error:
            assert_one_line(error, str(archive))
    return found


def read_place(archive, place):
    with archive.open("rb") as file:
        file.seek(place.offset)
        return file.read(place.size)


@examples(200)
@given(ARCHIVES, st.booleans(), damages())
def test_any_archive_is_read_or_refused_and_nothing_else_happens(content, is_compressed, damage):
    with tempfile.TemporaryDirectory() as folder:
        outside, archive = Path(folder) / "secret", Path(folder) / "data" / "archive.tar.gz"
        archive.parent.mkdir()
        outside.write_bytes(SECRET)
        archive.write_bytes(damage(gzip.compress(content, 1) if is_compressed else content))
        assert all(SECRET not in found for found in read_everything(archive))
        assert sorted(path.name for path in Path(folder).rglob("*")) == ["archive.tar.gz", "data", "secret"]
        assert outside.read_bytes() == SECRET


CRAFTED = {
    "going back": [make_member(b"x", b"", size=0), make_member(b"x", b"", size=-2 * BLOCK)],
    "going back by a newer header": [make_pax({b"size": b"-1024"}), make_member(b"x", b"1")],
    "no numbers": [make_pax({b"GNU.sparse.map": b"a,b"}), make_member(b"x", b"1")],
    "no text": [make_pax({b"hdrcharset": b"\xff"}), make_member(b"x", b"1")],
    "names without end": [make_member(b"x", b"a", b"L")] * 3_000,
    "a name that is too long": [make_member(b"x", b"a" * 100_000, b"L"), make_member(b"x", b"1")],
    "digits without end": [make_member(b"x", b"1" * 200_000, b"x"), make_member(b"x", b"1")],
    "a link": [make_member(b"data/a", b"", b"2", b"/etc/passwd"), make_member(b"data/b", b"1")],
    "a hard link": [make_member(b"data/b", b"1"), make_member(b"data/a", b"", b"1", b"data/b")],
    "a device": [make_member(b"data/a", b"", b"3"), make_member(b"data/b", b"1")],
    "a pipe": [make_member(b"data/a", b"", b"6"), make_member(b"data/b", b"1")],
    "a folder": [make_member(b"data/a", b"", b"5"), make_member(b"data/b", b"1")],
    "a file with holes": [
        make_pax({b"GNU.sparse.map": b"0,1", b"GNU.sparse.size": b"999999999"}),
        make_member(b"data/a", b"1"),
        make_member(b"data/b", b"1"),
    ],
    "the same twice": [make_member(b"data/a", b"1"), make_member(b"data/b", b"1"), make_member(b"data/a", b"2")],
    "the same twice in other words": [make_member(b"data/a", b"1"), make_member(b"./data/a", b"2")],
    "a file larger than the archive": [make_member(b"data/b", b"1"), make_member(b"data/a", b"1", size=2**40)],
    "one that is not there": [make_member(b"data/a", b"1")],
    "nothing": [],
}


@pytest.mark.parametrize("is_compressed", [False, True])
@pytest.mark.parametrize("name", CRAFTED)
def test_archives_made_to_do_harm_are_refused(name, is_compressed, tmp_path):
    archive = tmp_path / "archive.tar"
    content = b"".join([*CRAFTED[name], END])
    archive.write_bytes(gzip.compress(content) if is_compressed else content)
    for read in (
        lambda: list(archives.read_members(archive, dict.fromkeys(WANTED, 1))),
        lambda: archives.read_small_members(archive, WANTED),
        lambda: dogs.index_members(archive, WANTED),
    ):
        with pytest.raises(DataError) as caught:
            read()
        assert_one_line(caught.value, str(archive))


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
def test_headers_that_unpack_to_gigabytes_take_no_memory(kind, tmp_path):
    archive = tmp_path / "bomb.tar.gz"
    blocks = [make_header(b"x", 2**32, kind), *[bytes(2**20)] * 64]
    archive.write_bytes(compress(blocks))
    tracemalloc.start()
    with pytest.raises(DataError, match="headers of more than 16,384 bytes"):
        archives.read_small_members(archive, WANTED)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_a_damaged_byte_of_a_compressed_archive_is_found_though_nobody_published_a_checksum(tmp_path):
    """The content of the file is as it was stored, without the compression that would notice by itself."""
    archive = tmp_path / "archive.tar.gz"
    packer = zlib.compressobj(0, wbits=31)
    content = packer.compress(make_member(b"data/a", b"Title and abstract") + END) + packer.flush()
    archive.write_bytes(content)
    assert archives.read_small_members(archive, ["data/a"]) == {"data/a": b"Title and abstract"}
    archive.write_bytes(content.replace(b"abstract", b"abstracT"))
    with pytest.raises(DataError, match="CRC check failed"):
        archives.read_small_members(archive, ["data/a"])
