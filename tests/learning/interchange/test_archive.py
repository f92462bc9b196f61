"""An archive that nobody vouches for: sound ones are read, and lies are found when they are unpacked."""

from __future__ import annotations

import io
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tools.hostile_zips import End, Entry, raw_zip

from stairways.errors import ArtifactError
from stairways.learning.interchange.archive import MODEL_LIMITS, Archive, Limits, shown

SMALL = Limits(10_000, 4, 1_000, 1_000, 1_500, 50, stored_only=False)


def opened(content, limits=SMALL):
    return Archive(content, "x.zip", limits)


def refusal(content, limits=SMALL, read=()):
    with pytest.raises(ArtifactError) as caught:
        archive = opened(content, limits)
        for name in read:
            archive.read(name)
    assert caught.value.line().startswith("x.zip: ")
    return caught.value.what


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("wide", [False, True])
def test_what_the_standard_library_writes_is_read(method, wide):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as made:
        for name, text in (("a", b"some text"), ("b/c", b"")):
            with made.open(name, "w", force_zip64=wide) as entry:
                entry.write(text)
    archive = opened(content.getvalue())
    assert archive.names == ("a", "b/c")
    assert (archive.read("a"), archive.read("b/c")) == (b"some text", b"")


def test_wide_end_records_that_agree_are_read():
    assert opened(raw_zip([Entry("a", b"text")], End(wide=True))).read("a") == b"text"


def test_entries_that_are_missing_or_unknown():
    archive = opened(raw_zip([Entry("a", b"1"), Entry("b", b"2")]))
    archive.require(["a"], ["a", "b"])
    with pytest.raises(ArtifactError, match="has no entry c"):
        archive.require(["c"], ["a", "b", "c"])
    with pytest.raises(ArtifactError, match="holds entries that no such file has: 'b'"):
        archive.require(["a"], ["a"])
    with pytest.raises(ArtifactError, match="has no entry 'c'"):
        archive.read("c")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (Entry("a", b"abc", packed=True, size=10), "claims 10 bytes and unpacks to 3"),
        (Entry("a", b"abcdef", packed=True, size=2), "is damaged"),
        (Entry("a", b"abc" * 20, packed_size=300, size=300), "is damaged"),
        (Entry("a", b"a" * 900, packed=True), "50 times as many are allowed"),
        (Entry("a", bytes(range(256)) * 4), "1,000 are allowed"),
        (Entry("a", b"abc", size=2, packed_size=3), "is stored, yet claims 2 bytes in 3"),
        (Entry("a\x1b[31m", b""), "has a name that is none"),
        (Entry("a\\b", b""), "has a name that is none"),
        (Entry("", b""), "has a name that is none"),
        (Entry("a" * 960, b""), "claims 1 entries in a list of 1,006 bytes, 4 in 1,000 are allowed"),
    ],
)
def test_lies(entry, words):
    assert words in refusal(raw_zip([entry]), read=["a"])


def test_all_entries_together_are_too_large():
    content = raw_zip(Entry(name, bytes(range(256)) * 3) for name in "ab")
    assert "its entries claim 1,536 bytes, 1,500 are allowed" in refusal(content)


def test_what_is_unpacked_is_counted_over_all_readings():
    archive = opened(raw_zip([Entry("a", bytes(range(250)) * 4)]))
    archive.read("a")
    with pytest.raises(ArtifactError, match="unpacks to more than the 1,500 bytes allowed"):
        archive.read("a")


def test_the_file_itself_is_too_large():
    assert "20,000 bytes, more than the 10,000 allowed" in refusal(b"PK" + bytes(19_998))


def test_a_comment_at_the_end_is_something_added():
    assert "something was added" in refusal(raw_zip([Entry("a", b"")], End(comment=b"hello")))


def test_foreign_names_are_shown_short_and_escaped():
    assert shown("\x1b[2J") == r"'\x1b[2J'"
    assert len(shown("a" * 1_000)) < 70


SOUND = raw_zip([Entry("a", b"some text" * 20, packed=True), Entry("b", b"other")], End(wide=True))


@settings(max_examples=400)
@given(st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.integers(1, 255)), min_size=1, max_size=3))
def test_damaged_bytes_are_refused_or_read_and_nothing_else(changes):
    damaged = bytearray(SOUND)
    for at, change in changes:
        damaged[at] ^= change
    try:
        archive = opened(bytes(damaged), MODEL_LIMITS)
        for name in archive.names:
            archive.read(name)
    except ArtifactError as error:
        assert "\n" not in error.line()
