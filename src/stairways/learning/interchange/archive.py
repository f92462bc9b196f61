"""A zip archive that nobody vouches for: every claim of it is checked before a byte is unpacked.

The end of the archive is read by hand first, because what lists the entries would otherwise build an
object for each of the millions that a directory can hold. What the directory claims is refused when it
is too much, and what is unpacked is counted, because claims can lie.
"""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

from stairways.errors import ArtifactError

REMEDY = "save the model again with its library, and check where this file comes from"
LONGEST_NAME, LONGEST_TEXT = 60, 160
"""Characters of foreign text that a message shows."""

_MIB = 2**20
_CHUNK = 2**16
_END = struct.Struct("<4s4H2LH")
_END_MARK = b"PK\x05\x06"
_WIDE_LOCATOR = struct.Struct("<4sLQL")
_WIDE_LOCATOR_MARK = b"PK\x06\x07"
_WIDE_END = struct.Struct("<4sQ2H2L4Q")
_WIDE_END_MARK = b"PK\x06\x06"
_SHORT_FULL, _LONG_FULL = 0xFFFF, 0xFFFFFFFF
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_UNPACKING_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
)
"""Everything the zip reader of the standard library raises at damaged bytes."""


@dataclass(frozen=True)
class Limits:
    """What an archive may hold.

    Attributes:
        file_bytes: Bytes of the archive itself.
        entries: Entries.
        directory_bytes: Bytes of the list of entries.
        entry_bytes: Bytes of one entry, unpacked.
        total_bytes: Bytes of all entries, unpacked.
        expansion: Bytes that one packed byte may become.
        stored_only: Whether every entry must lie there unpacked.
    """

    file_bytes: int
    entries: int
    directory_bytes: int
    entry_bytes: int
    total_bytes: int
    expansion: int
    stored_only: bool


MODEL_LIMITS = Limits(64 * _MIB, 16, 2**12, 48 * _MIB, 128 * _MIB, 100, stored_only=False)
"""A saved model: the widest policy of a specification has 17 MB of weights and twice that of optimiser."""
TENSOR_LIMITS = Limits(32 * _MIB, 512, 2**16, 32 * _MIB, 32 * _MIB, 1, stored_only=True)
"""A file of tensors inside it; torch stores them as they are."""


class Archive:
    """The entries of an archive in memory, each read on request.

    Args:
        content: All bytes of the archive.
        where: Name of the archive for errors.
        limits: What it may hold.

    Raises:
        ArtifactError: If it is no plain zip archive, or claims more than the limits.
    """

    def __init__(self, content: bytes, where: str, limits: Limits) -> None:
        self.where = where
        self._limits = limits
        self._unpacked = 0
        if len(content) > limits.file_bytes:
            self.refuse(f"{len(content):,} bytes, more than the {limits.file_bytes:,} allowed")
        self._check_end(content)
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(content))
        except _UNPACKING_ERRORS as error:
            self.refuse(f"is damaged ({legible(str(error))})")
        self._entries: dict[str, zipfile.ZipInfo] = {}
        for entry in self._zip.infolist():
            self._check_entry(entry)
            self._entries[entry.filename] = entry
        self._check_total()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the entries, in the order of the directory."""
        return tuple(self._entries)

    def require(self, wanted: Iterable[str], allowed: Iterable[str]) -> None:
        """Refuse an archive that lacks an entry, or holds one that nobody knows.

        Raises:
            ArtifactError: Naming what is missing and what is unknown.
        """
        missing = [name for name in wanted if name not in self._entries]
        unknown = [name for name in self._entries if name not in set(allowed)]
        if missing:
            self.refuse(f"has no entry {', '.join(missing)}")
        if unknown:
            self.refuse(f"holds entries that no such file has: {', '.join(map(shown, unknown[:4]))}")

    def read(self, name: str, *, at_most: int | None = None) -> bytes:
        """Unpack one entry.

        Args:
            name: Its name.
            at_most: Bytes that it may claim, where that is less than the archive's limit.

        Raises:
            ArtifactError: If there is none of that name, it is damaged, or unpacks to another size than
                it claims, or all that was unpacked so far exceeds the limit.
        """
        entry = self._entries.get(name)
        if entry is None:
            self.refuse(f"has no entry {shown(name)}")
        if at_most is not None and entry.file_size > at_most:
            self.refuse(f"entry {shown(name)} claims {entry.file_size:,} bytes, {at_most:,} are allowed")
        parts = []
        try:
            with self._zip.open(entry) as stream:
                while chunk := stream.read(_CHUNK):
                    self._unpacked += len(chunk)
                    if self._unpacked > self._limits.total_bytes:
                        self.refuse(f"unpacks to more than the {self._limits.total_bytes:,} bytes allowed")
                    parts.append(chunk)
        except _UNPACKING_ERRORS as error:
            self.refuse(f"entry {shown(name)} is damaged ({legible(str(error))})")
        content = b"".join(parts)
        if len(content) != entry.file_size:
            self.refuse(
                f"entry {shown(name)} claims {entry.file_size:,} bytes and unpacks to {len(content):,}"
            )
        return content

    def refuse(self, what: str) -> NoReturn:
        """Raise the one line that says what is wrong with this archive."""
        raise ArtifactError(what, where=self.where, remedy=REMEDY)

    def _check_end(self, content: bytes) -> None:
        """Check the record at the end: how many entries, and that their list ends where it stands."""
        at = len(content) - _END.size
        if at < 0 or content[:2] != b"PK":
            self.refuse("is no zip archive")
        mark, disk, first_disk, here, entries, size, offset, comment = _END.unpack_from(content, at)
        if mark != _END_MARK or comment:
            self.refuse("does not end as a zip archive does: it is cut short, or something was added")
        wide = self._wide_end(content, at)
        if wide is not None:
            at, wide_here, wide_entries, wide_size, wide_offset = wide
            for told, long, full in (
                (here, wide_here, _SHORT_FULL),
                (entries, wide_entries, _SHORT_FULL),
                (size, wide_size, _LONG_FULL),
                (offset, wide_offset, _LONG_FULL),
            ):
                if told not in (long, full):
                    self.refuse(f"its two end records disagree: {told:,} and {long:,}")
            here, entries, size, offset = wide_here, wide_entries, wide_size, wide_offset
        if disk or first_disk or here != entries:
            self.refuse("is one part of several")
        if entries > self._limits.entries or size > self._limits.directory_bytes:
            self.refuse(
                f"claims {entries:,} entries in a list of {size:,} bytes, "
                f"{self._limits.entries:,} in {self._limits.directory_bytes:,} are allowed"
            )
        if offset + size != at:
            self.refuse(
                f"its list of entries ends at byte {offset + size:,}, not {at:,}: something is hidden"
            )

    def _wide_end(self, content: bytes, end: int) -> tuple[int, int, int, int, int] | None:
        """Return place, entries here and in all, size and offset of the list, from a zip64 end record."""
        locator = end - _WIDE_LOCATOR.size
        if locator < 0 or content[locator : locator + 4] != _WIDE_LOCATOR_MARK:
            return None
        at = locator - _WIDE_END.size
        _, disk, told_at, disks = _WIDE_LOCATOR.unpack_from(content, locator)
        if at < 0 or content[at : at + 4] != _WIDE_END_MARK or told_at != at or disk or disks != 1:
            self.refuse("its zip64 end record is not where it says")
        _, _, _, _, part, first_part, here, entries, size, offset = _WIDE_END.unpack_from(content, at)
        if part or first_part:
            self.refuse("is one part of several")
        return at, here, entries, size, offset

    def _check_entry(self, entry: zipfile.ZipInfo) -> None:
        name = entry.orig_filename
        parts = name.split("/")
        if not name.isprintable() or not name or "\\" in name or name != entry.filename:
            self.refuse(f"entry {shown(name)} has a name that is none")
        if name.startswith("/") or parts[0].endswith(":"):
            self.refuse(f"entry {shown(name)} is an absolute path")
        if ".." in parts:
            self.refuse(f"entry {shown(name)} leads out of its folder")
        if name in self._entries:
            self.refuse(f"entry {shown(name)} stands there twice")
        if entry.is_dir():
            self.refuse(f"entry {shown(name)} is a folder")
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            what = "a link" if kind == stat.S_IFLNK else "no regular file"
            self.refuse(f"entry {shown(name)} is {what}")
        if entry.flag_bits & _ENCRYPTED:
            self.refuse(f"entry {shown(name)} is encrypted")
        self._check_size(entry)

    def _check_size(self, entry: zipfile.ZipInfo) -> None:
        limits, name = self._limits, shown(entry.filename)
        packed, unpacked = entry.compress_size, entry.file_size
        if entry.compress_type not in _METHODS:
            self.refuse(f"entry {name} is packed by method {entry.compress_type}, not stored or deflated")
        if limits.stored_only and entry.compress_type != zipfile.ZIP_STORED:
            self.refuse(f"entry {name} is packed, which such a file never is")
        if unpacked > limits.entry_bytes:
            self.refuse(f"entry {name} claims {unpacked:,} bytes, {limits.entry_bytes:,} are allowed")
        if unpacked > limits.expansion * packed:
            self.refuse(
                f"entry {name} claims {unpacked:,} bytes from {packed:,} packed ones, "
                f"{limits.expansion} times as many are allowed"
            )
        if entry.compress_type == zipfile.ZIP_STORED and packed != unpacked:
            self.refuse(f"entry {name} is stored, yet claims {unpacked:,} bytes in {packed:,}")

    def _check_total(self) -> None:
        total = sum(entry.file_size for entry in self._entries.values())
        if total > self._limits.total_bytes:
            self.refuse(f"its entries claim {total:,} bytes, {self._limits.total_bytes:,} are allowed")


def shown(name: str) -> str:
    """Return a foreign name as a message may show it: quoted, escaped and short."""
    return repr(name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}...")


def legible(text: str) -> str:
    """Return foreign text as it is where it is short and printable, and as :func:`shown` does elsewhere."""
    return text if text.isprintable() and len(text) <= LONGEST_TEXT else shown(text)
