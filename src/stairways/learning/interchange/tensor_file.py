"""Tensors out of a ``.pth`` file, without unpickling it.

Such a file is a zip archive: one record of raw numbers for each storage, and ``data.pkl``, a program for
the machine that pickle is. That machine may call any function of any module. Here stands a much smaller
one: it knows the 26 instructions that ``torch.save`` may write for a state dict in its zip format
(torch 1.6 and later) and the three names such a program refers to, keeps descriptions instead of
objects, and calls nothing. What it does not know is refused. The numbers are then taken from the
records, whose sizes must be what the descriptions say.

``torch.load(weights_only=True)`` is not used: its machine knows 144 names in torch 2.13, among them one
that takes as much memory as the file asks for before anything is refused (1 GiB from 40 bytes), and it
has had a hole that ran code (CVE-2025-32434). This needs no torch, no child process and no limits of
the system. The tests hold the two against each other on sound files.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from stairways.errors import ArtifactError
from stairways.learning.interchange.archive import TENSOR_LIMITS, Archive, shown

PROGRAM_BYTES = 2**18
"""Bytes of ``data.pkl``, at most; a hundred tensors take sixteen thousand."""

_PROGRAM = "data.pkl"
_RECORDS = re.compile(
    r"data\.pkl|byteorder|version|\.format_version|\.storage_alignment|\.data/serialization_id|data/\d{1,4}"
)
_PLAIN_PICKLE = b"\x80"
_FLOAT_BYTES = 4
_DICTIONARY = "collections OrderedDict"
_REBUILD = "torch._utils _rebuild_tensor_v2"
_FLOATS = "torch FloatStorage"
_OTHER_NUMBERS = re.compile(r"torch \w+Storage")


@dataclass(frozen=True)
class _Name:
    """A name that the program refers to."""

    text: str


@dataclass(frozen=True)
class _Storage:
    """A record of numbers: its key and how many float32 it holds."""

    key: str
    length: int


@dataclass(frozen=True)
class _Described:
    """A tensor that lies row by row in a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return _product(self.shape)


class _NotAStateDictError(Exception):
    """The program does what no state dict's does."""


class TensorFile:
    """The tensors of one ``.pth`` file: shapes at once, numbers on request.

    Args:
        content: All bytes of the file.
        where: Its name for errors.

    Attributes:
        shapes: Shape of each tensor by its name in the state dict.

    Raises:
        ArtifactError: If it is no file of float32 tensors as ``torch.save`` writes them.
    """

    def __init__(self, content: bytes, where: str) -> None:
        if content.startswith(_PLAIN_PICKLE):
            raise ArtifactError(
                "is a plain pickle, as torch wrote before 1.6",
                where=where,
                remedy="load the model where it was made and save it again with a newer torch",
            )
        self._archive = Archive(content, where, TENSOR_LIMITS)
        self._root = self._archive.names[0].partition("/")[0] if self._archive.names else ""
        self._check_records()
        program = self._archive.read(f"{self._root}/{_PROGRAM}", at_most=PROGRAM_BYTES)
        try:
            self._described = _Machine(program).run()
        except _NotAStateDictError as error:
            self._archive.refuse(f"{_PROGRAM} {error}")
        self.shapes = {name: tensor.shape for name, tensor in self._described.items()}
        # storages may be shared, so that small records would do for tensors without end
        claimed = _FLOAT_BYTES * sum(tensor.size for tensor in self._described.values())
        if claimed > TENSOR_LIMITS.total_bytes:
            self._archive.refuse(
                f"its tensors claim {claimed:,} bytes, {TENSOR_LIMITS.total_bytes:,} are allowed"
            )

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """Return every tensor by name, float32, each a copy.

        Raises:
            ArtifactError: If a record has another size than the program says.
        """
        storages: dict[_Storage, NDArray[np.float32]] = {}
        found = {}
        for name, tensor in self._described.items():
            if tensor.storage not in storages:
                storages[tensor.storage] = self._numbers(tensor.storage)
            flat = storages[tensor.storage][tensor.offset : tensor.offset + tensor.size]
            found[name] = flat.reshape(tensor.shape).astype(np.float32)
        return found

    def _numbers(self, storage: _Storage) -> NDArray[np.float32]:
        content = self._archive.read(f"{self._root}/data/{storage.key}")
        if len(content) != _FLOAT_BYTES * storage.length:
            self._archive.refuse(
                f"record {storage.key} holds {len(content):,} bytes, its tensor claims "
                f"{_FLOAT_BYTES * storage.length:,}"
            )
        return np.frombuffer(content, dtype="<f4")

    def _check_records(self) -> None:
        prefix = f"{self._root}/"
        known = [
            name
            for name in self._archive.names
            if name.startswith(prefix) and _RECORDS.fullmatch(name.removeprefix(prefix))
        ]
        self._archive.require([f"{prefix}{_PROGRAM}"], known)
        order = f"{prefix}byteorder"
        if order in known and self._archive.read(order, at_most=16) != b"little":
            self._archive.refuse("its numbers are not little-endian")


class _Machine:
    """Runs a state dict's program on descriptions.

    Every instruction does a bounded amount of work and calls nothing foreign; keys of dictionaries are
    text, so nothing nested is ever hashed.
    """

    def __init__(self, program: bytes) -> None:
        self._program = program
        self._at = 0
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> dict[str, _Described]:
        """Return the described tensors by name."""
        while (code := self._take(1)) != b".":
            instruction = _INSTRUCTIONS.get(code)
            if instruction is None:
                raise _NotAStateDictError(f"holds instruction 0x{code.hex()}, which no state dict needs")
            instruction(self)
        if self._at != len(self._program) or len(self._stack) != 1 or self._marks:
            raise _NotAStateDictError("does not end where its program ends")
        return _tensors_of(self._stack[0])

    def protocol(self) -> None:
        """Take the version of the language; 2 is what torch writes."""
        version = self._take(1)[0]
        if version != 2:
            raise _NotAStateDictError(f"is written in protocol {version}, not 2")

    def name(self) -> None:
        """Push a name, if it is one of the three."""
        text = f"{self._line()} {self._line()}"
        if _OTHER_NUMBERS.fullmatch(text) and text != _FLOATS:
            raise _NotAStateDictError(f"holds numbers of {text.removeprefix('torch ')}, not float32")
        if text not in (_DICTIONARY, _REBUILD, _FLOATS):
            raise _NotAStateDictError(f"asks for {shown(text.replace(' ', '.'))}, which no state dict needs")
        self._stack.append(_Name(text))

    def text(self) -> None:
        """Push a text."""
        raw = self._take(self._number("<I"))
        try:
            self._stack.append(raw.decode("utf-8"))
        except UnicodeDecodeError:
            raise _NotAStateDictError("holds text that is no UTF-8") from None

    def integer(self, form: str) -> None:
        """Push an integer of a fixed form."""
        self._stack.append(self._number(form))

    def long(self) -> None:
        """Push an integer of up to eight bytes."""
        length = self._take(1)[0]
        if length > 8:
            raise _NotAStateDictError(f"holds an integer of {length} bytes")
        self._stack.append(int.from_bytes(self._take(length), "little", signed=True))

    def push(self, value: Any) -> None:
        """Push a constant."""
        self._stack.append(value)

    def mark(self) -> None:
        """Remember the height of the stack."""
        self._marks.append(len(self._stack))

    def remember(self, form: str) -> None:
        """Remember the value on top under a number."""
        self._memo[self._number(form)] = self._top()

    def recall(self, form: str) -> None:
        """Push a remembered value."""
        number = self._number(form)
        if number not in self._memo:
            raise _NotAStateDictError(f"recalls value {number}, which it never remembered")
        self._stack.append(self._memo[number])

    def row(self, length: int | None) -> None:
        """Join the topmost values, those above the last mark without a length, into a tuple."""
        if length is None:
            self._stack.append(tuple(self._above_mark()))
        else:
            values = [self._pop() for _ in range(length)]
            self._stack.append(tuple(reversed(values)))

    def dictionary(self) -> None:
        """Push an empty dictionary."""
        self._stack.append({})

    def set_items(self) -> None:
        """Put the pairs above the last mark into the dictionary under them."""
        pairs = self._above_mark()
        if len(pairs) % 2:
            raise _NotAStateDictError("sets a key without a value")
        self._put(list(zip(pairs[::2], pairs[1::2], strict=True)))

    def set_item(self) -> None:
        """Put one pair into the dictionary under it."""
        value, key = self._pop(), self._pop()
        self._put([(key, value)])

    def call(self) -> None:
        """Describe what a call would make: an empty dictionary, or a tensor."""
        arguments, called = self._pop(), self._pop()
        if called == _Name(_DICTIONARY) and arguments == ():
            self.dictionary()
        elif called == _Name(_REBUILD) and isinstance(arguments, tuple):
            self._stack.append(_tensor(arguments))
        else:
            raise _NotAStateDictError("makes a call that no state dict needs")

    def storage(self) -> None:
        """Describe a storage: ('storage', FloatStorage, key, device, length)."""
        claim = self._pop()
        if not isinstance(claim, tuple) or len(claim) != 5 or claim[1] != _Name(_FLOATS):
            raise _NotAStateDictError("names a storage in a form that torch does not write")
        key, length = claim[2], claim[4]
        if not isinstance(key, str) or not key.isdecimal() or not _is_count(length):
            raise _NotAStateDictError("names a storage without a key or a length")
        self._stack.append(_Storage(key, length))

    def attributes(self) -> None:
        """Drop the attributes of a dictionary: the versions of its modules."""
        attributes, owner = self._pop(), self._top()
        if not isinstance(attributes, dict) or not isinstance(owner, dict):
            raise _NotAStateDictError("sets attributes of what is no dictionary")

    def _put(self, pairs: list[tuple[Any, Any]]) -> None:
        owner = self._top()
        if not isinstance(owner, dict):
            raise _NotAStateDictError("sets items of what is no dictionary")
        for key, value in pairs:
            if not isinstance(key, str):
                raise _NotAStateDictError("holds a key that is no text")
            if key in owner:
                raise _NotAStateDictError(f"sets {shown(key)} twice")
            owner[key] = value

    def _above_mark(self) -> list[Any]:
        if not self._marks:
            raise _NotAStateDictError("looks for a mark that it never set")
        height = self._marks.pop()
        values = self._stack[height:]
        del self._stack[height:]
        return values

    def _pop(self) -> Any:
        value = self._top()
        self._stack.pop()
        return value

    def _top(self) -> Any:
        # what lies under the last mark belongs to whoever set it
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise _NotAStateDictError("takes a value where there is none")
        return self._stack[-1]

    def _number(self, form: str) -> int:
        (number,) = struct.unpack(form, self._take(struct.calcsize(form)))
        return int(number)

    def _line(self) -> str:
        end = self._program.find(b"\n", self._at)
        if end < 0:
            self._cut_short()
        line, self._at = self._program[self._at : end], end + 1
        return line.decode("ascii", errors="replace")

    def _take(self, length: int) -> bytes:
        taken = self._program[self._at : self._at + length]
        if len(taken) != length:
            self._cut_short()
        self._at += length
        return taken

    def _cut_short(self) -> NoReturn:
        raise _NotAStateDictError("is cut short")


_INSTRUCTIONS: dict[bytes, Callable[[_Machine], None]] = {
    b"\x80": _Machine.protocol,
    b"c": _Machine.name,
    b"X": _Machine.text,
    b"J": lambda machine: machine.integer("<i"),
    b"K": lambda machine: machine.integer("<B"),
    b"M": lambda machine: machine.integer("<H"),
    b"\x8a": _Machine.long,
    b"\x88": lambda machine: machine.push(True),
    b"\x89": lambda machine: machine.push(False),
    b"N": lambda machine: machine.push(None),
    b"(": _Machine.mark,
    b"q": lambda machine: machine.remember("<B"),
    b"r": lambda machine: machine.remember("<I"),
    b"h": lambda machine: machine.recall("<B"),
    b"j": lambda machine: machine.recall("<I"),
    b")": lambda machine: machine.row(0),
    b"t": lambda machine: machine.row(None),
    b"\x85": lambda machine: machine.row(1),
    b"\x86": lambda machine: machine.row(2),
    b"\x87": lambda machine: machine.row(3),
    b"}": _Machine.dictionary,
    b"s": _Machine.set_item,
    b"u": _Machine.set_items,
    b"R": _Machine.call,
    b"Q": _Machine.storage,
    b"b": _Machine.attributes,
}
"""The instructions by their code in protocol 2."""


def _tensor(arguments: tuple[Any, ...]) -> _Described:
    """Return a tensor of (storage, offset, shape, strides, requires_grad, hooks[, metadata])."""
    if len(arguments) not in (6, 7):
        raise _NotAStateDictError("rebuilds a tensor in a form that torch does not write")
    storage, offset, shape, strides = arguments[:4]
    counts = isinstance(shape, tuple) and isinstance(strides, tuple) and len(shape) == len(strides) <= 4
    if not isinstance(storage, _Storage) or not counts or not all(map(_is_count, (offset, *shape, *strides))):
        raise _NotAStateDictError("rebuilds a tensor without a shape")
    tensor = _Described(storage, offset, shape)
    steps = [_product(shape[axis + 1 :]) for axis in range(len(shape))]
    if any(step != told for step, told, length in zip(steps, strides, shape, strict=True) if length > 1):
        raise _NotAStateDictError(f"holds a tensor of shape {shape} that does not lie row by row")
    if offset + tensor.size > storage.length:
        raise _NotAStateDictError(
            f"claims a tensor of shape {shape} at {offset} in a storage of {storage.length:,} numbers"
        )
    return tensor


def _tensors_of(result: Any) -> dict[str, _Described]:
    if not isinstance(result, dict) or not result:
        raise _NotAStateDictError("makes no state dict")
    strange = [name for name, value in result.items() if not isinstance(value, _Described)]
    if strange:
        raise _NotAStateDictError(f"holds {shown(strange[0])}, which is no tensor")
    return result


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _product(lengths: tuple[int, ...]) -> int:
    size = 1
    for length in lengths:
        size *= length
    return size
