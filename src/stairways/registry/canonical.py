"""Canonical JSON: one sequence of bytes for one value, the ground every digest stands on."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

JsonObject = dict[str, Any]


def plain_json(value: Any, at: str = "$") -> Any:
    """Return a deep copy of a value in plain JSON types; tuples become lists.

    Integers and floats stay what they are: 1 and 1.0 are equal in Python, yet two contents here.

    Args:
        value: Nested dicts, lists, tuples, strings, booleans, integers, finite floats and None.
        at: Path of the value, for the error.

    Raises:
        ValueError: If a key is no text, a number is not finite, or a type has no JSON form.
    """
    if isinstance(value, dict):
        return {_key(name, at): plain_json(item, f"{at}.{name}") for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(item, f"{at}[{index}]") for index, item in enumerate(value)]
    return _scalar(value, at)


def canonical_json(value: Any, *, indent: int | None = None) -> bytes:
    """Return the canonical bytes: sorted keys, UTF-8, floats by their shortest round trip, no NaN.

    Args:
        value: What :func:`plain_json` accepts.
        indent: Spaces per level for a form that people read; None for the compact form of digests.

    Raises:
        ValueError: As in :func:`plain_json`.
    """
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(
        plain_json(value),
        sort_keys=True,
        ensure_ascii=False,
        allow_nan=False,
        indent=indent,
        separators=separators,
    )
    return (text if indent is None else f"{text}\n").encode("utf-8")


def canonical_digest(value: Any) -> str:
    """Return the SHA-256 of the compact canonical bytes, in hexadecimal.

    Raises:
        ValueError: As in :func:`plain_json`.
    """
    return hashlib.sha256(canonical_json(value)).hexdigest()


def parse_json_object(content: bytes) -> JsonObject:
    """Parse a JSON object, refusing what the canonical form can't hold.

    Raises:
        ValueError: If the bytes are no UTF-8 JSON object, name a key twice or hold a number that is
            not finite.
    """
    try:
        parsed = json.loads(
            content.decode("utf-8"), object_pairs_hook=_unique_keys, parse_constant=_refuse_constant
        )
        parsed = plain_json(parsed)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(parsed, dict):
        raise ValueError(f"expected a JSON object, found {type(parsed).__name__}")  # noqa: TRY004 - one kind of refusal
    return parsed


def _key(name: Any, at: str) -> str:
    if not isinstance(name, str):
        raise ValueError(f"{at}: key {name!r} is {type(name).__name__}, not text")  # noqa: TRY004 - one kind of refusal
    name.encode("utf-8")
    return name


def _scalar(value: Any, at: str) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{at}: {value} is not finite")
        return float(value)
    if isinstance(value, str):
        value.encode("utf-8")
        return str(value)
    raise ValueError(f"{at}: {type(value).__name__} has no JSON form")


def _unique_keys(pairs: list[tuple[str, Any]]) -> JsonObject:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {twice!r} stands twice")
    return unique


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not finite")
