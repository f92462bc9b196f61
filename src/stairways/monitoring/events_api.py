"""One event, one POST: what the Events API v2 says to a page, and what its silence means."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from threading import Thread
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from stairways.monitoring.page import Page, cut
from stairways.monitoring.paging_config import LOOPBACK
from stairways.monitoring.routing_key import RoutingKey
from stairways.registry.canonical import JsonObject, canonical_json

if TYPE_CHECKING:
    import httpx2

Verdict = Literal["accepted", "refused", "misplaced", "failing", "silent"]

_PATH = "/v2/enqueue"
_MAX_ANSWER_BYTES = 65_536
_MAX_REASON_CHARS = 300
_LONGEST_WAIT_SECONDS = 5.0

# What another request with the same body can't change. Other refusals (a proxy's 407, a wrong path's
# 404) say that the place is wrong, not the page.
_PAGE_REFUSED = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
)


@dataclass(frozen=True)
class Answer:
    """What came of sending one page.

    Attributes:
        verdict: ``accepted``: the receiver said that it has the page; ``refused``: it will never take
            this page; ``misplaced``: address, routing key or a proxy is wrong, the page may be sound;
            ``failing``: it answered, and did not take the page now; ``silent``: no answer came, and
            whether the page arrived is unknown.
        status: HTTP status of the last answer; None without one.
        attempts: Requests made.
        dedup_key: The receiver's key of the incident; empty where it named none.
        reason: What the receiver or the network said; empty if accepted.
    """

    verdict: Verdict
    status: int | None = None
    attempts: int = 0
    dedup_key: str = ""
    reason: str = ""


class EventsApi:
    """Sends pages to one receiver of the Events API v2.

    Args:
        base_url: Address of the receiver, without the path.
        key: Routing key.
        connect_seconds: How long a connection may take to come about.
        read_seconds: How long the receiver may be silent.
        attempts: Requests of one page at most.
        first_wait_seconds: Wait before the second request, doubled each time, plus up to as much by chance.
        transport: What carries requests; None for the network.
    """

    def __init__(
        self,
        base_url: str,
        key: RoutingKey,
        *,
        connect_seconds: float,
        read_seconds: float,
        attempts: int,
        first_wait_seconds: float,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = f"{base_url}{_PATH}"
        self._key = key
        self._connect_seconds = connect_seconds
        self._read_seconds = read_seconds
        self._attempts = attempts
        self._first_wait_seconds = first_wait_seconds
        self._transport = transport

    def post(self, page: Page, seconds: float) -> Answer:
        """Send a page, again where that can help; must not be called from a running event loop.

        Timeouts, lost connections, 429, 5xx and answers that make no sense are tried again, after the
        receiver's Retry-After where that fits the time. Redirects are not followed: the key stays here.

        Args:
            page: The page.
            seconds: How long everything together may take.
        """
        if seconds <= 0:
            return Answer("silent", reason="no time was left")
        return _run(lambda: self._post(page, seconds))

    async def _post(self, page: Page, seconds: float) -> Answer:
        course = _Course()
        try:
            async with asyncio.timeout(seconds):
                await self._with_retries(event_bytes(page, self._key), seconds, course)
        except TimeoutError:
            said = f"; before that: {course.last.reason}" if course.last.reason else ""
            reason = f"no end within {seconds:.3g} s{said}"
            return replace(course.last, attempts=course.attempts, reason=reason)
        except _AgainError:
            pass
        return replace(course.last, attempts=course.attempts)

    async def _with_retries(self, body: bytes, seconds: float, course: _Course) -> None:
        import httpx2
        import stamina

        deadline = asyncio.get_running_loop().time() + seconds

        def again(error: Exception) -> bool | float:
            if not isinstance(error, _AgainError):
                return False
            if error.wait_seconds is None:
                return True
            # To wait beyond the time at hand helps nobody: the page goes to the spool now.
            fits = asyncio.get_running_loop().time() + error.wait_seconds < deadline
            return error.wait_seconds if fits else False

        tries = stamina.retry_context(
            on=again,
            attempts=self._attempts,
            timeout=None,
            wait_initial=self._first_wait_seconds,
            wait_max=_LONGEST_WAIT_SECONDS,
            wait_jitter=self._first_wait_seconds,
        )
        timeouts = httpx2.Timeout(self._read_seconds, connect=self._connect_seconds)
        # A proxy must not see what goes to this machine unencrypted.
        away = urlsplit(self._url).hostname not in LOOPBACK
        async with httpx2.AsyncClient(
            timeout=timeouts, trust_env=away, follow_redirects=False, transport=self._transport
        ) as client:
            async for attempt in tries:
                with attempt:
                    await self._once(client, body, course)

    async def _once(self, client: httpx2.AsyncClient, body: bytes, course: _Course) -> None:
        import httpx2

        course.attempts += 1
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        wait: float | None = None
        try:
            async with client.stream("POST", self._url, content=body, headers=headers) as response:
                wait = retry_after_seconds(response.headers)
                course.last = self._answer_of(response.status_code, await _head_of(response))
        except httpx2.HTTPError as error:
            course.last = Answer("silent", reason=self._clean(f"{type(error).__name__}: {error}"))
        # Raised out here, it does not carry the library's error along, whose request holds the key.
        if course.last.verdict in ("failing", "silent"):
            raise _AgainError(wait)

    def _answer_of(self, status: int, content: bytes) -> Answer:
        said = _json_object(content)
        words = _words(said) or content.decode("utf-8", "replace")
        reason = self._clean(f"HTTP {status} {words}")
        if 200 <= status < 300:
            # A captive portal says 200 to everything; only a receiver says that it has the page.
            if status == HTTPStatus.ACCEPTED and said.get("status") == "success":
                return Answer("accepted", status, dedup_key=self._clean(str(said.get("dedup_key") or "")))
            return Answer(
                "failing", status, reason=self._clean(f"HTTP {status}, but no word of success: {words}")
            )
        if status == HTTPStatus.TOO_MANY_REQUESTS or status >= 500:
            return Answer("failing", status, reason=reason)
        about_the_key = re.search(r"routing[_ ]key", _words(said), re.IGNORECASE)
        if status in _PAGE_REFUSED and not about_the_key:
            return Answer("refused", status, reason=reason)
        return Answer("misplaced", status, reason=f"{reason}; check paging.base_url and the routing key")

    def _clean(self, text: str) -> str:
        """Return one bounded line that a terminal can show, without the key."""
        hidden = self._key.hide_in(text)
        shown = "".join(letter if letter.isprintable() else " " for letter in hidden)
        return cut(" ".join(shown.split()), _MAX_REASON_CHARS)


def event_bytes(page: Page, key: RoutingKey) -> bytes:
    """Return the body of a page's request."""
    event: JsonObject = {
        "routing_key": key.reveal(),
        "event_action": page.action,
        "dedup_key": page.dedup_key,
    }
    if page.action == "trigger":
        event |= {
            "client": "stairways",
            "links": [link.model_dump() for link in page.links],
            "payload": {
                "summary": page.summary,
                "severity": page.severity,
                "source": page.source,
                "component": page.component,
                "timestamp": page.occurred_at.isoformat(timespec="milliseconds"),
                "custom_details": page.details,
            },
        }
    return canonical_json(event)


def retry_after_seconds(headers: httpx2.Headers) -> float | None:
    """Return how long a receiver asks to wait, in seconds; None where it does not say so clearly.

    A date is measured from the answer's own Date, for its clock may differ from ours.
    """
    text = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}", text):
        return float(text)
    try:
        until, now = parsedate_to_datetime(text), parsedate_to_datetime(headers.get("Date", ""))
        return max((until - now).total_seconds(), 0.0)
    except (TypeError, ValueError, OverflowError):
        return None


class _AgainError(Exception):
    """Another request may help.

    Args:
        wait_seconds: What the receiver asks to wait; None for the usual.
    """

    def __init__(self, wait_seconds: float | None) -> None:
        super().__init__("another request may help")
        self.wait_seconds = wait_seconds


class _Course:
    """How far a sending has come."""

    def __init__(self) -> None:
        self.attempts = 0
        self.last = Answer("silent")


async def _head_of(response: httpx2.Response) -> bytes:
    """Return the first bytes of an answer's body, as they came: neither endless nor unpacked."""
    head = b""
    async for part in response.aiter_raw():
        head += part
        if len(head) >= _MAX_ANSWER_BYTES:
            break
    return head[:_MAX_ANSWER_BYTES]


def _json_object(content: bytes) -> JsonObject:
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _words(said: JsonObject) -> str:
    errors = said.get("errors")
    parts = [said.get("status"), said.get("message"), *(errors if isinstance(errors, list) else [])]
    return ", ".join(str(part) for part in parts if part)


class _DaemonThreads(ThreadPoolExecutor):
    """Looks up names in threads that nobody waits for.

    A resolver that does not answer can't be interrupted; neither a page's budget nor the end of the
    process may depend on it.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()

        def work() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - whoever awaits the future is told
                future.set_exception(error)

        Thread(target=work, name="stairways-resolver", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for nothing."""


def _run(work: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
    with asyncio.Runner() as runner:
        runner.get_loop().set_default_executor(_DaemonThreads())
        return runner.run(work())
