"""A page: what a person on call is told, bounded as PagerDuty's Events API v2 wants it."""

from __future__ import annotations

import datetime as dt
import numbers
import re
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator

from stairways.registry.canonical import JsonObject, canonical_digest, canonical_json

Severity = Literal["info", "warning", "error", "critical"]
Action = Literal["trigger", "acknowledge", "resolve"]

SEVERITIES: tuple[Severity, ...] = ("info", "warning", "error", "critical")
"""From the least to the worst."""

MAX_EVENT_BYTES = 512_000
"""Bytes of a whole event; the parts' bounds below keep every page under it, however it is escaped."""
MAX_SUMMARY_CHARS = 1_024
MAX_FIELD_CHARS = 255
MAX_DETAILS_BYTES = 384_000
MAX_LINKS = 10
MAX_HREF_CHARS = 1_000

CUT = " [cut]"
"""Ends a text that was longer."""

_HEAD_CHARS = 40_000
_DEEPEST = 20
_LONGEST_INTEGER_BITS = 1_024
_SLUG = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_HREF = re.compile(r"https?://[!-~]+")


class Link(BaseModel):
    """A link shown beside a page.

    Attributes:
        href: http or https, printable ASCII, at most 1,000 characters.
        text: What to call it; cut to 255 characters.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    href: str = Field(max_length=MAX_HREF_CHARS)
    text: str = ""

    @field_validator("href")
    @classmethod
    def _leads_to_the_web(cls, value: str) -> str:
        if not _HREF.fullmatch(value):
            raise ValueError("a link starts with http:// or https:// and holds printable ASCII alone")
        return value

    @field_validator("text")
    @classmethod
    def _text_is_bounded(cls, value: str) -> str:
        return cut(value, MAX_FIELD_CHARS)


class Page(BaseModel):
    """One thing to tell a person on call, or the word that it is over.

    What is too long is cut and ends in ``[cut]``, and details that have no JSON form become text: a
    page must not fail on the day it is needed because of what it has to say.

    Attributes:
        summary: What happened, in one line; cut to 1,024 characters.
        severity: ``info``, ``warning``, ``error`` or ``critical``.
        source: The machine or system concerned; cut to 255 characters.
        component: The part of it concerned; cut to 255 characters.
        dedup_key: Pages of one incident share it, see :func:`incident_key`; at most 255 characters. A
            longer one is refused, for two incidents must not become one.
        occurred_at: When it happened; aware, kept in UTC.
        action: ``trigger`` opens the incident, ``acknowledge`` and ``resolve`` refer to it.
        details: Whatever helps, as a JSON object; cut where its JSON exceeds 384,000 bytes.
        links: Ten at most; the last says how many were cut.

    Raises:
        pydantic.ValidationError: If a text is empty, the key too long, or the time naive.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    summary: str = Field(min_length=1)
    severity: Severity
    source: str = Field(min_length=1)
    component: str = Field(min_length=1)
    dedup_key: str = Field(min_length=1, max_length=MAX_FIELD_CHARS)
    occurred_at: AwareDatetime
    action: Action = "trigger"
    details: dict[str, Any] = Field(default_factory=dict)
    links: tuple[Link, ...] = ()

    @field_validator("summary", "source", "component", "dedup_key", mode="before")
    @classmethod
    def _text_is_unicode(cls, value: Any) -> Any:
        return _sound_text(value).strip() if isinstance(value, str) else value

    @field_validator("summary")
    @classmethod
    def _summary_is_bounded(cls, value: str) -> str:
        return cut(value, MAX_SUMMARY_CHARS)

    @field_validator("source", "component")
    @classmethod
    def _fields_are_bounded(cls, value: str) -> str:
        return cut(value, MAX_FIELD_CHARS)

    @field_validator("occurred_at")
    @classmethod
    def _in_utc(cls, value: dt.datetime) -> dt.datetime:
        return value.astimezone(dt.UTC)

    @field_validator("details", mode="before")
    @classmethod
    def _details_are_bounded_json(cls, value: Any) -> JsonObject:
        if not isinstance(value, Mapping):
            raise ValueError(f"details are a mapping, not {type(value).__name__}")  # noqa: TRY004 - pydantic's kind
        return _bounded_details(json_form(value))

    @field_validator("links", mode="after")
    @classmethod
    def _links_are_bounded(cls, value: tuple[Link, ...]) -> tuple[Link, ...]:
        if len(value) <= MAX_LINKS:
            return value
        last = value[MAX_LINKS - 1]
        more = f" [{len(value) - MAX_LINKS} more links cut]"
        text = f"{last.text[: MAX_FIELD_CHARS - len(more)]}{more}"
        return (*value[: MAX_LINKS - 1], Link(href=last.href, text=text))

    def as_record(self) -> JsonObject:
        """Return the page in plain JSON types; :meth:`from_record` gives the same page back."""
        record: JsonObject = self.model_dump(mode="json")
        return record

    @classmethod
    def from_record(cls, record: Any) -> Self:
        """Return the page of a record.

        Raises:
            pydantic.ValidationError: If the record is none of a page.
        """
        return cls.model_validate(record)


def incident_key(component: str, kind: str, subject: Any) -> str:
    """Return the key of an incident, the same in every process that sees the same thing.

    Args:
        component: The part concerned; lower-case letters, digits, ``_``, ``.`` and ``-``, 64 at most.
        kind: What happened, in the same alphabet.
        subject: What it happened to, as JSON: what two processes see alike (an artifact's digest, a
            session's date), never a time, a process id or a host of the observer. 1 and 1.0 differ.

    Raises:
        ValueError: If component or kind hold something else.
    """
    for name, value in (("component", component), ("kind", kind)):
        if not _SLUG.fullmatch(value):
            raise ValueError(
                f"{name} {value!r} must be 1 to 64 of a-z, 0-9, _, . and -, a letter or digit first"
            )
    return f"{component}/{kind}/{canonical_digest([component, kind, json_form(subject)])[:32]}"


def cut(text: str, max_chars: int) -> str:
    """Return a text of at most so many characters, marked where it was longer."""
    return text if len(text) <= max_chars else f"{text[: max_chars - len(CUT)]}{CUT}"


def json_form(value: Any, depth: int = 0) -> Any:
    """Return a copy of anything in plain JSON types; what has none becomes text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, numbers.Real):
        return _number(value)
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return _collection(value, depth + 1) if depth < _DEEPEST else f"nested deeper than {_DEEPEST}{CUT}"
    return _sound_text(str(value))


def _collection(value: Any, depth: int) -> Any:
    if isinstance(value, Mapping):
        return {_sound_text(str(name)): json_form(item, depth) for name, item in value.items()}
    # A set has no order of its own, and a digest may stand on it.
    parts = sorted(value, key=repr) if isinstance(value, set | frozenset) else value
    return [json_form(item, depth) for item in parts]


def _number(value: numbers.Real) -> int | float | str:
    if isinstance(value, numbers.Integral):
        whole = int(value)
        # Python refuses to write integers of thousands of digits.
        bits = whole.bit_length()
        return whole if bits <= _LONGEST_INTEGER_BITS else f"an integer of {bits} bits"
    try:
        real = float(value)
    except OverflowError:
        return "inf"
    # NaN and infinity have no JSON form.
    return real if real - real == 0 else str(real)


def _sound_text(text: str) -> str:
    # A lone surrogate has no UTF-8 form.
    return text.encode("utf-8", "replace").decode("utf-8")


def _bounded_details(details: JsonObject) -> JsonObject:
    text = canonical_json(details)
    if len(text) <= MAX_DETAILS_BYTES:
        return details
    head = text.decode("utf-8")[:_HEAD_CHARS]
    return {"cut": f"details of {len(text)} bytes were cut", "head": f"{head}{CUT}"}
