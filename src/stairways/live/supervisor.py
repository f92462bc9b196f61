"""The supervisor: keeps one worker answering, and replaces it without a connection refused.

The listening socket is the supervisor's and stays open while workers come and go: a connection that finds
none waits. A worker that dies is followed by another; a new one is ready before the old one is asked to go.
"""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stairways.errors import ServiceError, StairwaysError, StorageError
from stairways.live.address import Address, is_heard
from stairways.registry.canonical import canonical_json
from stairways.registry.files import storage_error, write_bytes_atomic

if TYPE_CHECKING:
    from stairways.operations_config import PerformanceSettings

PREPARED, GO, SERVING = b"prepared\n", b"go\n", b"serving\n"
"""What a worker says, is told, and says again."""
SECONDS_TO_FINISH = 2
SERVICE_FOLDER = "service"
SERVICE_FILE = "service.json"
PREPARE_SECONDS = 60.0
_CONTROL, _CONTROL_PREFIX = "control", "stairways-"
_LOOK_SECONDS = 0.05
_WORD_SECONDS = 2.0
"""Within which whoever connects to the control socket says what it wants."""
_STOP_SECONDS = SECONDS_TO_FINISH + 2.0
_PAUSES_SECONDS = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Before a worker that died is followed: none at first, more the oftener it happens."""
_STEADY_SECONDS = 10.0
_PRIVATE = 0o600
_REFUSED = 2
"""Exit status, as the commands have it."""

Say = Callable[[str], None]


@dataclass(eq=False)
class _Worker:
    process: subprocess.Popen[bytes]
    hear: int
    tell: int
    generation: int
    began: float

    def wait_for(self, word: bytes, seconds: float, given_up: Callable[[], bool] = lambda: False) -> bool:
        """Return whether the worker said a word in time, and before somebody gave up."""
        until, heard = time.monotonic() + seconds, b""
        with selectors.DefaultSelector() as selector:
            selector.register(self.hear, selectors.EVENT_READ)
            while time.monotonic() < until and not given_up():
                if not selector.select(_LOOK_SECONDS):
                    continue
                part = os.read(self.hear, len(word) - len(heard))
                heard += part
                if heard == word:
                    return True
                if not part:
                    return False
        return False

    def close(self) -> None:
        """Stop the worker: politely, then not."""
        self.process.terminate()
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.hear)
        os.close(self.tell)


class Supervisor:
    """Keeps a registry's service up.

    Args:
        registry: Its folder.
        address: Where to listen.
        seed: Of the numbers that actions are drawn with.
        performance: How workers answer; None takes the defaults.
        say: Told what happens, in lines.

    Raises:
        StorageError: If another serves that registry, somebody listens at the address, or a folder can't be
            written.
    """

    def __init__(
        self,
        registry: Path,
        address: Address,
        *,
        seed: int = 0,
        performance: PerformanceSettings | None = None,
        say: Say = lambda line: None,
    ) -> None:
        self.folder = registry / SERVICE_FOLDER
        self._registry = registry
        self._seed = seed
        self._performance = "{}" if performance is None else performance.model_dump_json()
        self._say = say
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise storage_error(error, self.folder) from error
        with ExitStack() as left:
            # first and gone last: until it is ours, what stands there may be another's
            left.callback(os.close, _held(self.folder))
            self._clear()
            self._listener, self.address = address.listen()
            left.callback(_close_socket, self._listener, self.address.path)
            control_folder = Path(tempfile.mkdtemp(prefix=_CONTROL_PREFIX))
            left.callback(control_folder.rmdir)
            self._control_path = control_folder / _CONTROL
            self._control, _ = Address(path=self._control_path).listen()
            left.callback(_close_socket, self._control, self._control_path)
            self._left = left.pop_all()
        self._worker: _Worker | None = None
        self._generation = 0
        self._deaths = 0
        self._stopping = False
        self._replacing = False

    def _clear(self) -> None:
        """Remove what a supervisor that was killed left: since we hold its folder, it is gone.

        Unless the folder is a copy: its record names the control socket of the service it was copied from.
        """
        try:
            control = Path(str(service_record(self._registry)["control"]))
        except ServiceError:
            return
        (self.folder / SERVICE_FILE).unlink(missing_ok=True)
        if control.name == _CONTROL and control.parent.name.startswith(_CONTROL_PREFIX):
            with suppress(OSError):
                if not is_heard(control):
                    control.unlink()
                    control.parent.rmdir()

    def run(self) -> None:
        """Serve until told to stop; SIGTERM and SIGINT stop, SIGHUP replaces the worker."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGHUP, self._ask_to_replace)
        record = {"address": str(self.address), "control": str(self._control_path), "pid": os.getpid()}
        try:
            self._follow()
            write_bytes_atomic(self.folder / SERVICE_FILE, canonical_json(record), mode=_PRIVATE)
            self._say(f"serving at {self.address}")
            while not self._stopping:
                self._look()
        finally:
            self._close()

    def _look(self) -> None:
        """Wait a little for somebody who asks for something, then look after the worker."""
        self._control.settimeout(_LOOK_SECONDS)
        try:
            connection, _ = self._control.accept()
        except (TimeoutError, InterruptedError):
            connection = None
        if connection is not None:
            with connection:
                self._obey(connection)
        if self._replacing:
            self._replacing = False
            self._replace()
        worker = self._worker
        if worker is None or worker.process.poll() is None:
            return
        if self._stopping:
            return
        lived = time.monotonic() - worker.began
        self._deaths = 0 if lived > _STEADY_SECONDS else self._deaths + 1
        pause = _PAUSES_SECONDS[min(self._deaths, len(_PAUSES_SECONDS) - 1)]
        self._say(f"the worker ended with {worker.process.returncode}; another follows in {pause:g} s")
        worker.close()
        self._worker = None
        self._pause(pause)
        self._follow()

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stopping and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK_SECONDS))

    def _obey(self, connection: socket.socket) -> None:
        connection.settimeout(_WORD_SECONDS)
        try:
            word = connection.recv(64).strip()
            if word == b"restart":
                answer = self._replace()
            elif word == b"stop":
                self._stopping, answer = True, {"stopped": True}
            else:
                answer = {"error": f"{word!r} is neither restart nor stop"}
            connection.sendall(canonical_json(answer))
        except OSError as error:
            self._say(f"the control connection was lost ({error})")

    def _replace(self) -> dict[str, Any]:
        """Replace the worker; return how, or why not: the old one goes on then."""
        began = time.monotonic()
        try:
            worker = self._prepared()
        except ServiceError as error:
            return self._failed(error)
        old, self._worker = self._worker, worker
        if old is not None:
            old.close()
        if not self._let_go(worker):
            return self._failed(
                ServiceError(f"worker {worker.generation} died when it took over", where="supervisor")
            )
        seconds = time.monotonic() - began
        self._say(f"worker {worker.generation} (pid {worker.process.pid}) took over after {seconds:.2f} s")
        return {"generation": worker.generation, "pid": worker.process.pid, "seconds": seconds}

    def _failed(self, error: ServiceError) -> dict[str, Any]:
        self._say(error.line())
        return {"error": error.line()}

    def _follow(self) -> None:
        """Start a worker where there is none."""
        while not self._stopping:
            try:
                worker = self._prepared()
            except ServiceError as error:
                self._deaths += 1
                self._say(error.line())
                self._pause(_PAUSES_SECONDS[min(self._deaths, len(_PAUSES_SECONDS) - 1)])
                continue
            self._worker = worker
            self._let_go(worker)
            return

    def _prepared(self) -> _Worker:
        """Return a worker that is ready and waits for the word.

        Raises:
            ServiceError: If it did not get ready.
        """
        hear, its_tell = os.pipe()
        its_hear, tell = os.pipe()
        self._generation += 1
        arguments = {
            "--registry": self._registry,
            "--folder": self.folder,
            "--listener": self._listener.fileno(),
            "--hear": its_hear,
            "--tell": its_tell,
            "--generation": self._generation,
            "--seed": self._seed,
            "--performance": self._performance,
        }
        command = [sys.executable, "-m", "stairways.live.worker"]
        for name, value in arguments.items():
            command += [name, str(value)]
        began = time.monotonic()
        try:
            process = subprocess.Popen(command, pass_fds=(self._listener.fileno(), its_hear, its_tell))
        except OSError as error:
            os.close(hear)
            os.close(tell)
            raise ServiceError(f"no worker can be started ({error})", where="supervisor") from error
        finally:
            os.close(its_hear)
            os.close(its_tell)
        worker = _Worker(process, hear, tell, self._generation, began)
        if worker.wait_for(PREPARED, PREPARE_SECONDS, lambda: self._stopping):
            return worker
        worker.close()
        raise ServiceError(f"worker {worker.generation} did not get ready", where="supervisor")

    def _let_go(self, worker: _Worker) -> bool:
        """Give a worker the word; return whether it serves."""
        try:
            os.write(worker.tell, GO)
            serves = worker.wait_for(SERVING, PREPARE_SECONDS)
        except BrokenPipeError:
            serves = False
        if not serves:
            # it is found dead, or dies, and is followed
            worker.process.kill()
        return serves

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _ask_to_replace(self, *_: object) -> None:
        self._replacing = True

    def _close(self) -> None:
        with self._left:
            self._listener.close()
            self._control.close()
            if self._worker is not None:
                self._worker.close()
            (self.folder / SERVICE_FILE).unlink(missing_ok=True)


def _held(folder: Path) -> int:
    """Return a descriptor of a folder that no other supervisor holds.

    It dies with its process: no worker inherits it. Two supervisors would give each other's clients a memory
    that is not theirs, and a rollback would restart the worker of one of them.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise StorageError(
            "another service answers for this registry",
            where=str(folder.parent),
            remedy="stop that one first: `stairways serve --stop`",
        ) from error
    return descriptor


def _close_socket(listener: socket.socket, path: Path | None) -> None:
    listener.close()
    if path is not None:
        path.unlink(missing_ok=True)


def service_record(registry: Path) -> dict[str, Any]:
    """Return where the service of a registry is.

    Raises:
        ServiceError: If none is running.
    """
    place = registry / SERVICE_FOLDER / SERVICE_FILE
    try:
        record: dict[str, Any] = json.loads(place.read_bytes())
        if not {"address", "control"} <= set(record):
            raise ValueError("it names no address")  # noqa: TRY301
    except (OSError, TypeError, ValueError) as error:
        raise ServiceError(
            "no service is running", where=str(place), remedy="start it: `stairways serve`", status=503
        ) from error
    return record


def tell_supervisor(registry: Path, word: str, seconds: float) -> dict[str, Any]:
    """Ask the supervisor of a registry for something, and return its answer.

    Args:
        registry: Folder.
        word: ``restart`` or ``stop``.
        seconds: How long to wait.

    Raises:
        ServiceError: If there is none, it does not answer, or it could not do it.
    """
    path = str(service_record(registry)["control"])
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(seconds)
        try:
            connection.connect(path)
            connection.sendall(word.encode())
            connection.shutdown(socket.SHUT_WR)
            answer: dict[str, Any] = json.loads(_all_of(connection))
        except (OSError, ValueError) as error:
            raise ServiceError(
                f"the supervisor does not answer ({error})", where=path, remedy="see whether it runs"
            ) from error
    if "error" in answer:
        raise ServiceError(str(answer["error"]), where="supervisor")
    return answer


def _all_of(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(65_536):
        parts.append(part)
    return b"".join(parts)


def main() -> int:
    """Keep a registry's service up: ``python -m stairways.live.supervisor REGISTRY SOCKET``."""
    registry, path = (Path(word) for word in sys.argv[1:3])
    try:
        Supervisor(registry, Address(path=path)).run()
    except StairwaysError as error:
        sys.stderr.write(f"stairways: {error.line()}\n")
        return _REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
