"""The worker: the process that answers. The supervisor starts it, hands it the socket and replaces it.

It gets ready beside the one that still answers, says so, and waits for the word; only then does it take over
the clients' memory and the socket. It ends with its supervisor, whatever that died of: the pipe that it hears
by is closed then.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import uvicorn
from pydantic import ValidationError

from stairways.compiled_cache import use_own_cache
from stairways.errors import ServiceError, StairwaysError
from stairways.live.http_api import make_app
from stairways.live.memory import MEMORY_FILE, read_memory, write_memory
from stairways.live.service import Service
from stairways.live.supervisor import GO, PREPARED, SECONDS_TO_FINISH, SERVING
from stairways.operations_config import PerformanceSettings
from stairways.registry.store import Store

_SECONDS_BETWEEN_WRITES = 2.0


class _Server(uvicorn.Server):
    """A server that says when it accepts, keeps its memory, and ends with its supervisor."""

    def __init__(
        self, config: uvicorn.Config, service: Service, memory: Path, *, hear: int, tell: int
    ) -> None:
        super().__init__(config)
        self._service = service
        self._memory = memory
        self._hear = hear
        self._tell = tell
        # one: memories are written one after the other, in the order in which they were taken
        self._writer = ThreadPoolExecutor(1, "memory")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().add_reader(self._hear, self._end)
        await super().startup(sockets)
        with suppress(BrokenPipeError):
            os.write(self._tell, SERVING)
        self._keeping = asyncio.create_task(self._keep_memory())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._keeping.cancel()
        await super().shutdown(sockets)
        # here, and not behind run(): that ends with the signal which asked for it
        await self._write_memory()
        self._writer.shutdown()

    def _end(self) -> None:
        """Nothing is said by this pipe any more: it can be read since its other end is closed."""
        asyncio.get_running_loop().remove_reader(self._hear)
        self.should_exit = True

    async def _write_memory(self) -> None:
        """Write what is kept of clients as it is now; others are answered meanwhile."""
        memory = self._service.memory()
        try:
            await asyncio.get_running_loop().run_in_executor(self._writer, write_memory, self._memory, memory)
        except StairwaysError as error:
            _say(error.line())

    async def _keep_memory(self) -> None:
        """Write what is kept of clients now and then: a process that is killed loses little of it."""
        written = 0
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_WRITES)
            if self._service.answered != written:
                written = self._service.answered
                await self._write_memory()


def main() -> int:
    """Get ready, wait for the word, serve, and hand over."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--registry", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    for name in ("--listener", "--hear", "--tell", "--generation", "--seed"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("--performance", type=_performance, required=True)
    given = parser.parse_args()
    use_own_cache()
    service = Service(Store(given.registry), given.performance, seed=given.seed)
    with suppress(ServiceError):
        # a champion that can't be served is told to whoever asks
        service.warm()
    with suppress(BrokenPipeError):
        os.write(given.tell, PREPARED)
    if os.read(given.hear, len(GO)) != GO:
        return 0
    place = given.folder / MEMORY_FILE
    try:
        service.take_over(read_memory(place))
    except StairwaysError as error:
        _say(error.line())
    config = uvicorn.Config(
        make_app(service, given.generation),
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=SECONDS_TO_FINISH,
    )
    listener = socket.socket(fileno=given.listener)
    _Server(config, service, place, hear=given.hear, tell=given.tell).run(sockets=[listener])
    return 0


def _performance(text: str) -> PerformanceSettings:
    """Return the settings in an argument."""
    try:
        return PerformanceSettings.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(("performance", *map(str, first["loc"])))
        raise argparse.ArgumentTypeError(f"{place}: {first['msg']}") from error


def _say(line: str) -> None:
    sys.stderr.write(f"stairways: {line}\n")


if __name__ == "__main__":
    sys.exit(main())
