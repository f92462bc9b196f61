"""Build zips that mean harm, try to import each in a fresh process, and print what it cost.

    python tools/hostile_zips.py

Nothing is fetched and nothing harmful is done: what a bomb would do here is create an empty file.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import resource
import stat
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

MEMORY_BAR_MB, SECONDS_BAR = 300.0, 2.0
VERSION = ("_stable_baselines3_version", b"2.9.2")
WEIGHTS = "policy.pth"
GIB = 2**30
FULL = 0xFFFFFFFF


@dataclass(frozen=True)
class Entry:
    """One entry of a zip, with every claim free to be a lie.

    Attributes:
        name: Name in the directory.
        content: What it unpacks to.
        packed: Whether it is deflated.
        size: Bytes claimed; None tells the truth, likewise ``packed_size``.
        flags: Flag bits.
        mode: Unix mode.
        extra: Extra field of the directory.
        local_name: Name in front of the data; None for the same.
    """

    name: str
    content: bytes
    packed: bool = False
    size: int | None = None
    packed_size: int | None = None
    flags: int = 0
    mode: int = stat.S_IFREG | 0o600
    extra: bytes = b""
    local_name: str | None = None


@dataclass(frozen=True)
class End:
    """Claims of the record at the end; None tells the truth."""

    entries: int | None = None
    size: int | None = None
    offset: int | None = None
    comment: bytes = b""
    wide: bool = False
    wide_entries: int | None = None


def raw_zip(entries: Iterable[Entry], end: End = End()) -> bytes:
    """Return the bytes of a zip made of entries as they are described."""
    body, directory, count = io.BytesIO(), io.BytesIO(), 0
    for entry in entries:
        count += 1
        data = _deflated(entry.content) if entry.packed else entry.content
        method = zipfile.ZIP_DEFLATED if entry.packed else zipfile.ZIP_STORED
        size = len(entry.content) if entry.size is None else entry.size
        packed = len(data) if entry.packed_size is None else entry.packed_size
        common = (20, entry.flags, method, 0, 33, zlib.crc32(entry.content), packed, size)
        name, place = entry.name.encode(), body.tell()
        local = name if entry.local_name is None else entry.local_name.encode()
        body.write(struct.pack("<4s5H3L2H", b"PK\x03\x04", *common, len(local), 0) + local + data)
        head = struct.pack("<4s6H3L", b"PK\x01\x02", 0x314, *common)
        tail = struct.pack("<5H2L", len(name), len(entry.extra), 0, 0, 0, entry.mode << 16, place)
        directory.write(head + tail + name + entry.extra)
    listed, start = directory.getvalue(), body.tell()
    told = [
        count if end.entries is None else end.entries,
        len(listed) if end.size is None else end.size,
        start if end.offset is None else end.offset,
    ]
    wide = b""
    if end.wide:
        many = count if end.wide_entries is None else end.wide_entries
        record = (44, 45, 45, 0, 0, many, many, len(listed), start)
        wide = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", *record)
        wide += struct.pack("<4sLQL", b"PK\x06\x07", 0, start + len(listed), 1)
    short = min(told[0], 0xFFFF)
    record = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, short, short, told[1], told[2], len(end.comment))
    return body.getvalue() + listed + wide + record + end.comment


def _deflated(content: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush()


@dataclass(frozen=True)
class Sound:
    """A sound zip, as entries, for others to be made of.

    Attributes:
        entries: Entries of the model.
        tensors: Entries of its ``policy.pth``.
        marker: File that a bomb would create.
    """

    entries: tuple[Entry, ...]
    tensors: tuple[Entry, ...]
    marker: Path

    @classmethod
    def of(cls, content: bytes, marker: Path) -> Sound:
        """Take a zip apart."""
        entries = _entries(content)
        [weights] = [entry for entry in entries if entry.name == WEIGHTS]
        return cls(entries, _entries(weights.content), marker)

    def with_entry(self, *changed: Entry) -> tuple[Entry, ...]:
        """Return the entries with some put in the place of their namesakes, or added."""
        names = {entry.name for entry in changed}
        return (*(entry for entry in self.entries if entry.name not in names), *changed)

    def with_weights(self, content: bytes, **claims: Any) -> bytes:
        """Return the zip with another ``policy.pth``."""
        return raw_zip(self.with_entry(Entry(WEIGHTS, content, **claims)))

    def with_tensors(self, suffix: str, change: Callable[[bytes], bytes], **claims: Any) -> bytes:
        """Return the zip with one record of ``policy.pth`` changed."""
        made = [
            replace(entry, content=change(entry.content), **claims) if entry.name.endswith(suffix) else entry
            for entry in self.tensors
        ]
        return self.with_weights(raw_zip(made))

    def with_program(self, program: bytes) -> bytes:
        """Return the zip with another ``data.pkl``."""
        return self.with_tensors("/data.pkl", lambda _: program)

    @property
    def bomb(self) -> bytes:
        """A pickle that creates the marker when it is opened: ``os.system("touch MARKER")``."""
        line = f"touch {self.marker}".encode()
        return b"\x80\x02cposix\nsystem\nX" + struct.pack("<I", len(line)) + line + b"\x85R."


def _entries(content: bytes) -> tuple[Entry, ...]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return tuple(Entry(info.filename, archive.read(info)) for info in archive.infolist())


@dataclass(frozen=True)
class Hostile:
    """One zip that means harm.

    Attributes:
        name: What is wrong with it.
        make: Makes its bytes of a sound zip.
        words: What the refusal must say; empty for what is not opened and so does no harm.
    """

    name: str
    make: Callable[[Sound], bytes]
    words: str = field(default="")


def _pickled_field(sound: Sound) -> bytes:
    """Return a zip whose ``data`` has one more pickled field than any sound one."""
    [data] = [entry.content for entry in sound.entries if entry.name == "data"]
    serialised = base64.b64encode(sound.bomb).decode()
    fields = json.loads(data) | {"unheard_of": {":type:": "x", ":serialized:": serialised}}
    return raw_zip(sound.with_entry(Entry("data", json.dumps(fields).encode())))


def _hidden_field(sound: Sound) -> bytes:
    """Return a zip with a pickled field inside one that every zip has."""
    [data] = [entry.content for entry in sound.entries if entry.name == "data"]
    serialised = base64.b64encode(sound.bomb).decode()
    fields = json.loads(data)
    fields["policy_kwargs"] = {":serialized:": serialised, "more": {":serialized:": serialised}}
    return raw_zip(sound.with_entry(Entry("data", json.dumps(fields).encode())))


def _nested(sound: Sound) -> bytes:
    """Return a zip whose ``data`` nests deeper than any stack."""
    return raw_zip(sound.with_entry(Entry("data", b"[" * 1_000_000)))


def _hash_bomb(_: Sound) -> bytes:
    """Return a program whose dictionary key takes 2^60 steps to hash."""
    doubling = b"".join(b"q%ch%c\x86" % (n, n) for n in range(60))
    return b"\x80\x02}(K\x01" + doubling + b"K\x01u."


def _storage(
    length: int, shape: tuple[int, ...], strides: tuple[int, ...], name: bytes = b"action_net.weight"
) -> bytes:
    """Return a program of one tensor."""

    def number(value: int) -> bytes:
        return b"\x8a\x08" + struct.pack("<q", value)

    def row(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(number, values)) + b"t"

    def text(words: bytes) -> bytes:
        return b"X" + struct.pack("<I", len(words)) + words

    claim = b"(" + text(b"storage") + b"ctorch\nFloatStorage\n" + text(b"0") + text(b"cpu") + number(length)
    call = (
        b"ctorch._utils\n_rebuild_tensor_v2\n((" + claim[1:] + b"tQ" + number(0) + row(shape) + row(strides)
    )
    made = call + b"\x89ccollections\nOrderedDict\n)RtR"
    return b"\x80\x02}" + text(name) + made + b"s."


def _not_a_number(content: bytes) -> bytes:
    return struct.pack("<f", float("nan")) + content[4:]


def _wide_extra(size: int) -> bytes:
    return struct.pack("<2HQ", 1, 8, size)


def _link(sound: Sound) -> bytes:
    return raw_zip(sound.with_entry(Entry("system_info.txt", b"/etc/passwd", mode=stat.S_IFLNK | 0o777)))


def _largest(sound: Sound) -> bytes:
    """Return a zip that fills every limit, so that nothing but its program is wrong."""
    rest = Entry("archive/data/9999", bytes(31 * 2**20))
    weights = raw_zip([Entry("archive/data.pkl", b"\x80\x02" + b"N" * 262_141 + b"."), rest])
    return raw_zip(
        sound.with_entry(Entry(WEIGHTS, weights), Entry("policy.optimizer.pth", bytes(30 * 2**20)))
    )


def _many(_: Sound) -> bytes:
    return raw_zip(Entry(f"{n}", b"") for n in range(300_000))


def _named(name: str) -> Callable[[Sound], bytes]:
    return lambda sound: raw_zip(sound.with_entry(Entry(name, b"x")))


def _info(**claims: Any) -> Callable[[Sound], bytes]:
    def make(sound: Sound) -> bytes:
        return raw_zip(sound.with_entry(Entry("system_info.txt", **{"content": b"x", **claims})))

    return make


HOSTILE = (
    Hostile("pickled field in data", _pickled_field, "a pickled field that no such zip has: unheard_of"),
    Hostile("pickled field within another", _hidden_field, "hides pickled fields"),
    Hostile("deeply nested data", _nested, "data is no JSON"),
    Hostile("pickle bomb in policy.pth", lambda s: s.with_program(s.bomb), "'posix.system'"),
    Hostile("pickle bomb, old .pth form", lambda s: s.with_weights(s.bomb), "plain pickle"),
    Hostile("pickled class", lambda s: s.with_program(b"\x80\x02c__main__\nEvil\n)\x81."), "'__main__.Evil'"),
    Hostile(
        "memory by bytearray",
        lambda s: s.with_program(b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R."),
        "'builtins.bytearray'",
    ),
    Hostile("key that takes years to hash", lambda s: s.with_program(_hash_bomb(s)), "key that is no text"),
    Hostile("program of 1 MB", lambda s: s.with_program(b"\x80\x02" + b"N" * 2**20), "are allowed"),
    Hostile(
        "program as long as allowed", lambda s: s.with_program(b"\x80\x02" + b"N" * 262_140), "cut short"
    ),
    Hostile("as large as allowed", _largest, "does not end where its program ends"),
    Hostile(
        "zip bomb",
        lambda s: s.with_weights(bytes(40 * 2**20), packed=True),
        "times as many are allowed",
    ),
    Hostile(
        "zip bomb that claims little",
        lambda s: s.with_weights(bytes(200 * 2**20), packed=True, size=10_000),
        "is damaged",
    ),
    Hostile("zip bomb not asked for", _info(content=bytes(200 * 2**20), packed=True), "are allowed"),
    Hostile(
        "zip bomb inside policy.pth",
        lambda s: s.with_tensors("/data/0", lambda _: bytes(30 * 2**20), packed=True),
        "is packed, which such a file never is",
    ),
    Hostile("path out of the folder", _named("../../evil"), "leads out of its folder"),
    Hostile("absolute path", _named("/tmp/evil"), "absolute path"),  # noqa: S108 - never written
    Hostile("Windows path", _named("C:/evil"), "absolute path"),
    Hostile("name with a NUL", _named("policy.pth\0.txt"), "a name that is none"),
    Hostile("entry that is a link", _link, "is a link"),
    Hostile("entry that is a folder", _named("folder/"), "is a folder"),
    Hostile("unknown entry", _named("evil.pkl"), "holds entries that no such file has"),
    Hostile(
        "name twice",
        lambda s: raw_zip((*s.entries, Entry(WEIGHTS, b"other"))),
        "stands there twice",
    ),
    Hostile(
        "two names for one entry",
        lambda s: raw_zip(s.with_entry(Entry(*VERSION, local_name="policy.pth"))),
        "is damaged",
    ),
    Hostile("truncated", lambda s: raw_zip(s.entries)[:-1_000], "does not end as a zip archive does"),
    Hostile("something in front", lambda s: b"PK" + raw_zip(s.entries), "something is hidden"),
    Hostile("something behind", lambda s: raw_zip(s.entries) + b"#!/bin/sh", "does not end"),
    Hostile("10 GB claimed", _info(size=FULL, extra=_wide_extra(10 * GIB)), "claims 10,737,418,240 bytes"),
    Hostile("4 GB claimed", _info(size=FULL - 1, packed_size=FULL - 1), "claims 4,294,967,294 bytes"),
    Hostile("300,000 entries", _many, "are allowed"),
    Hostile(
        "more entries than it says",
        lambda s: raw_zip(s.entries, End(entries=2, wide=True)),
        "its two end records disagree",
    ),
    Hostile(
        "zip64 claims 2^60 entries",
        lambda s: raw_zip(s.entries, End(entries=0xFFFF, wide=True, wide_entries=2**60)),
        "claims 1,152,921,504,606,846,976 entries",
    ),
    Hostile("list of entries elsewhere", lambda s: raw_zip(s.entries, End(offset=0)), "something is hidden"),
    Hostile("encrypted", _info(flags=1), "is encrypted"),
    Hostile(
        "storage of 4 TB claimed",
        lambda s: s.with_program(_storage(2**40, (9, 64), (64, 1))),
        "is missing",
    ),
    Hostile(
        "tensor of 4 TB in a small storage",
        lambda s: s.with_program(_storage(576, (2**20, 2**20), (0, 0))),
        "does not lie row by row",
    ),
    Hostile(
        "tensor of 4 TB, storage too",
        lambda s: s.with_program(_storage(2**40, (2**20, 2**20), (2**20, 1))),
        "its tensors claim 4,398,046,511,104 bytes",
    ),
    Hostile(
        "name that speaks to the terminal",
        lambda s: s.with_program(_storage(1, (1,), (1,), b"\x1b]0;trusted\x07")),
        r"'\x1b]0;trusted\x07' (1,) is not in the specification",
    ),
    Hostile("record cut short", lambda s: s.with_tensors("/data/0", lambda c: c[:-4]), "its tensor claims"),
    Hostile("weights that are no number", lambda s: s.with_tensors("/data/2", _not_a_number), "not finite"),
    Hostile("no zip at all", lambda _: b"\x89PNG\r\n\x1a\n" + bytes(1_000), "is no zip archive"),
    Hostile("empty file", lambda _: b"", "is no zip archive"),
)


def sound_zip() -> bytes:
    """Return a sound zip of a random policy with two layers of 64."""
    import numpy as np

    from stairways.learning.interchange.sb3_export import sb3_model, sb3_zip
    from stairways.policies.spec import PolicySpec

    rng, spec = np.random.default_rng(0), PolicySpec()
    weights = {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in spec.shapes().items()}
    return sb3_zip(sb3_model(spec, weights))


def try_one(path: Path) -> dict[str, Any]:
    """Read one zip as ``gold import`` does, and return what happened and what it cost this process."""
    from stairways.errors import InputError
    from stairways.learning.interchange.layout import ForeignOrder
    from stairways.learning.interchange.sb3_import import read_sb3_zip
    from stairways.policies.spec import PolicySpec
    from stairways.tuning.gold_import import read_model

    spec = PolicySpec()
    order = ForeignOrder.of(spec, ("AAA", "BBB"), None, None)
    before, began = peak_mb(), time.perf_counter()
    try:
        read_sb3_zip(read_model(path), path.name, spec, order)
        line = ""
    except InputError as error:
        line = error.line()
    seconds = time.perf_counter() - began
    torch = "torch" in sys.modules
    return {"line": line, "seconds": seconds, "before_mb": before, "peak_mb": peak_mb(), "torch": torch}


def peak_mb() -> float:
    """Return the largest resident memory that this process ever had, in MB, libraries included.

    Linux counts what the parent had at the fork into ``ru_maxrss``; its own high-water mark does not.
    """
    status = Path("/proc/self/status")
    if status.exists():
        [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) / 2**10
    told = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return told / (2**20 if sys.platform == "darwin" else 2**10)


def measured(path: Path) -> dict[str, Any]:
    """Return what :func:`try_one` says in a fresh process."""
    done = subprocess.run(
        [sys.executable, __file__, "--one", str(path)],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def main() -> int:
    """Print the table; 0 if every zip was dealt with within the bars."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    one = parser.parse_args().one
    if one is not None:
        print(json.dumps(try_one(one)))
        return 0
    failed = 0
    print(f"{'zip':36} {'outcome':11} {'seconds':>8} {'peak MB':>8} {'of it for the zip':>18}")
    with tempfile.TemporaryDirectory() as folder:
        marker = Path(folder) / "marker"
        sound = Sound.of(sound_zip(), marker)
        for hostile in HOSTILE:
            path = Path(folder) / "model.zip"
            path.write_bytes(hostile.make(sound))
            found = measured(path)
            outcome = "refused" if found["line"] else "not opened"
            good = hostile.words in found["line"] and bool(hostile.words) == bool(found["line"])
            good &= found["seconds"] < SECONDS_BAR and found["peak_mb"] < MEMORY_BAR_MB
            good &= not marker.exists() and not found["torch"]
            failed += not good
            grown = found["peak_mb"] - found["before_mb"]
            print(
                f"{hostile.name:36} {outcome if good else 'FAILED':11} {found['seconds']:8.4f} "
                f"{found['peak_mb']:8.1f} {grown:18.1f}"
            )
            print(f"    {found['line'] or 'its weights are read, nothing else of it is'}")
    print(f"{len(HOSTILE) - failed} of {len(HOSTILE)} as they should be; no code of any was run.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
