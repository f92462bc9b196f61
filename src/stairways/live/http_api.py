"""The service's HTTP API: JSON over a local socket.

================  =====================================================================
GET /healthz      the process is there: pid, generation, seconds, answers, loads
GET /readyz       the champion is loaded and verified; 503 and why it is not
GET /v1/model     what a client must know to ask: digest, symbols, inputs, actions
POST /v1/decide   ``{"requests": [...]}`` to ``{"replies": [...]}``, one model for all
GET /v1/memory    what is kept of every client
================  =====================================================================

Errors are ``{"error": "where: what; what to do"}`` with a status that fits.
"""

from __future__ import annotations

import datetime as dt
import os
import time
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, HTTPException
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException as AnyHTTPException

from stairways.errors import ServiceError
from stairways.live.service import BarredError, Request, Service

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BODY_BYTES = 4 * 1024**2
MOST_REQUESTS = 1_024
_MOST_LETTERS = 300
_NAME = r"^[A-Za-z0-9_.:-]{1,64}$"


class Asked(BaseModel):
    """One request, as it comes in; see :class:`stairways.live.service.Request`."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    client: Annotated[str, Field(pattern=_NAME)]
    session: dt.date
    bar: Annotated[int, Field(ge=0, le=1_000)]
    observation: Annotated[tuple[float, ...], Field(max_length=256)]
    score: float
    position: Annotated[tuple[int, ...], Field(max_length=8)]
    executed: Annotated[int, Field(ge=0, le=100)] | None = None

    def request(self) -> Request:
        """Return it as the service takes it."""
        return Request(**vars(self))


class AskedTogether(BaseModel):
    """Requests that one model answers."""

    model_config = ConfigDict(extra="forbid")

    requests: Annotated[list[Asked], Field(min_length=1, max_length=MOST_REQUESTS)]


def make_app(service: Service, generation: int) -> FastAPI:
    """Return the application.

    Args:
        service: What answers.
        generation: How often the process was replaced before.
    """
    began = time.monotonic()
    app = FastAPI(title="stairways", docs_url=None, redoc_url=None)
    app.add_middleware(_Bounded)

    @app.exception_handler(ServiceError)
    async def _refused(_: Any, error: ServiceError) -> JSONResponse:
        again = {"Retry-After": "1"} if isinstance(error, BarredError) else None
        return JSONResponse({"error": error.line()}, error.status, again)

    @app.exception_handler(RequestValidationError)
    async def _not_understood(_: Any, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        status = 400 if first["type"] == "json_invalid" else 422
        return JSONResponse({"error": _line(f"{place}: {first['msg']}")}, status)

    @app.exception_handler(AnyHTTPException)
    async def _of_http(_: Any, error: AnyHTTPException) -> JSONResponse:
        return JSONResponse({"error": _line(str(error.detail))}, error.status_code, error.headers)

    @app.get("/healthz")
    async def _health() -> dict[str, Any]:
        return {
            "answered": service.answered,
            "generation": generation,
            "loads": service.loads,
            "model": service.model,
            "pid": os.getpid(),
            "seconds": time.monotonic() - began,
        }

    @app.get("/readyz")
    async def _ready() -> dict[str, Any]:
        return {"model": service.ready()}

    @app.get("/v1/model")
    async def _model() -> dict[str, Any]:
        return service.description()

    @app.post("/v1/decide")
    async def _decide(body: AskedTogether) -> dict[str, Any]:
        replies = service.answer([asked.request() for asked in body.requests])
        return {"replies": [vars(reply) for reply in replies]}

    @app.get("/v1/memory")
    async def _memory() -> dict[str, Any]:
        return service.memory()

    return app


class _Bounded:
    """Refuses bodies that are larger than any request is, before they are read whole."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > MOST_BODY_BYTES:
            await _too_large()(scope, receive, send)
            return
        read = 0

        async def bounded() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > MOST_BODY_BYTES:
                # the one kind of error that reading a body lets through
                raise HTTPException(413, _TOO_LARGE)
            return message

        await self._app(scope, bounded, send)


_TOO_LARGE = f"body: more than {MOST_BODY_BYTES} bytes"


def _too_large() -> JSONResponse:
    return JSONResponse({"error": _TOO_LARGE}, 413)


def _line(text: str) -> str:
    """Return text of whoever asks as one line that can be sent: a lone surrogate can't."""
    return " ".join(text.encode("utf-8", "backslashreplace").decode().split())[:_MOST_LETTERS]
