"""A client of the service: asks, waits a bounded time, and asks again where asking twice is the same."""

from __future__ import annotations

import json
import time
from types import TracebackType
from typing import Any, Self

import httpx2

from stairways.errors import ServiceError
from stairways.live.address import Address

_PAUSE_SECONDS = 0.02
_SHOWN_LETTERS = 100


class ServiceClient:
    """Asks the service. A connection that is lost is made anew, and the question asked again.

    It is asked again too where the service says that a little later it will answer (``Retry-After``): the
    model was barred, and its successor is not live yet.

    Args:
        address: Where it listens.
        seconds: For one answer, tries and all.
    """

    def __init__(self, address: Address, seconds: float = 5.0) -> None:
        path = None if address.path is None else str(address.path)
        transport = httpx2.HTTPTransport(uds=path)
        base = "http://service" if address.path is not None else str(address)
        self._client = httpx2.Client(transport=transport, base_url=base, timeout=seconds, trust_env=False)
        self._seconds = seconds
        self._where = str(address)
        self.retried = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def health(self) -> dict[str, Any]:
        """Return what the process says of itself.

        Raises:
            ServiceError: If nobody answers in time; so for the others.
        """
        return self._ask("GET", "/healthz")

    def ready(self) -> str:
        """Return the digest of the model that answers.

        Raises:
            ServiceError: If none does.
        """
        return str(self._ask("GET", "/readyz")["model"])

    def model(self) -> dict[str, Any]:
        """Return what must be known to ask."""
        return self._ask("GET", "/v1/model")

    def memory(self) -> dict[str, Any]:
        """Return what is kept of every client."""
        return self._ask("GET", "/v1/memory")

    def decide(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the replies to requests; asked twice, a request is answered alike.

        Raises:
            ServiceError: If nobody answers in time, or they make no sense.
        """
        replies: list[dict[str, Any]] = self._ask("POST", "/v1/decide", {"requests": requests})["replies"]
        return replies

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        until = time.monotonic() + self._seconds
        content = None if body is None else _encoded(body)
        headers = {"content-type": "application/json"}
        while True:
            left = until - time.monotonic()
            try:
                answer = self._client.request(
                    method, path, content=content, headers=headers, timeout=max(left, 0.01)
                )
                found = answer.json()
            except (httpx2.TransportError, ValueError) as error:
                if time.monotonic() + _PAUSE_SECONDS >= until:
                    raise ServiceError(
                        f"no answer within {self._seconds:g} s ({type(error).__name__})",
                        where=self._where,
                        remedy="see whether `stairways serve` runs",
                        status=503,
                    ) from error
                self.retried += 1
                time.sleep(_PAUSE_SECONDS)
                continue
            if not isinstance(found, dict):
                raise ServiceError(
                    f"is no service of ours: it says {str(found)[:_SHOWN_LETTERS]}",
                    where=self._where,
                    remedy="see what listens there",
                    status=max(answer.status_code, 400),
                )
            if "retry-after" in answer.headers and time.monotonic() + _PAUSE_SECONDS < until:
                self.retried += 1
                time.sleep(_PAUSE_SECONDS)
                continue
            if answer.status_code >= 400:
                raise ServiceError(
                    str(found.get("error", found)), where=self._where, status=answer.status_code
                )
            return found


def _encoded(body: dict[str, Any]) -> bytes:
    try:
        return json.dumps(body, allow_nan=False, default=str).encode()
    except ValueError as error:
        raise ServiceError(f"the request has no JSON form ({error})", status=422) from error
