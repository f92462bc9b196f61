"""The worker: the process that answers. The supervisor starts it, hands it the socket and replaces it.

It gets ready beside the one that still answers, says so, and waits for the word; only then does it take over
the clients' memory and the socket.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

import uvicorn

from stairways.compiled_cache import use_own_cache
from stairways.errors import ServiceError, StorageError
from stairways.live.http_api import make_app
from stairways.live.memory import MEMORY_FILE, read_memory, write_memory
from stairways.live.service import Service
from stairways.live.supervisor import GO, PREPARED, SECONDS_TO_FINISH, SERVING
from stairways.operations_config import PerformanceSettings
from stairways.registry.store import Store

_SECONDS_BETWEEN_WRITES = 2.0


class _Server(uvicorn.Server):
    """A server that says when it accepts."""

    def __init__(self, config: uvicorn.Config, service: Service, memory: Path, tell: int) -> None:
        super().__init__(config)
        self._service = service
        self._memory = memory
        self._tell = tell

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        os.write(self._tell, SERVING)
        self._keeping = asyncio.create_task(self._keep_memory())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._keeping.cancel()
        await super().shutdown(sockets)

    async def _keep_memory(self) -> None:
        """Write what is kept of clients now and then: a process that is killed loses little of it."""
        written = 0
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_WRITES)
            if self._service.answered != written:
                written = self._service.answered
                with suppress(StorageError):
                    write_memory(self._memory, self._service.memory())


def main() -> int:
    """Get ready, wait for the word, serve, and hand over."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--registry", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    for name in ("--listener", "--hear", "--tell", "--generation", "--seed"):
        parser.add_argument(name, type=int, required=True)
    given = parser.parse_args()
    use_own_cache()
    service = Service(Store(given.registry), PerformanceSettings(), _utc_now, seed=given.seed)
    with suppress(ServiceError):
        # a champion that can't be served is told to whoever asks
        service.warm()
    os.write(given.tell, PREPARED)
    if os.read(given.hear, len(GO)) != GO:
        return 0
    place = given.folder / MEMORY_FILE
    try:
        service.take_over(read_memory(place))
    except StorageError as error:
        sys.stderr.write(f"stairways: {error.line()}\n")
    config = uvicorn.Config(
        make_app(service, given.generation),
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=SECONDS_TO_FINISH,
    )
    listener = socket.socket(fileno=given.listener)
    _Server(config, service, place, given.tell).run(sockets=[listener])
    write_memory(place, service.memory())
    return 0


def _utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


if __name__ == "__main__":
    sys.exit(main())
