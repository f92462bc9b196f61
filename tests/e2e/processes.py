"""Commands in processes of their own, which can die at a chosen moment."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

PRELOADED = ["warmed", "processes"]
"""Loaded once by the server that forks."""


class Moment(NamedTuple):
    """When a process dies by SIGKILL.

    Attributes:
        event: Name of a log event.
        count: Which one of that name.
        syncs: How many times a file was brought to the disk after it; 0 dies at the event itself.
    """

    event: str
    count: int = 1
    syncs: int = 0


def start(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Start a function of this module in a fresh process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=target, args=arguments)
    with _same_path():
        process.start()
    return process


@contextmanager
def _same_path() -> Iterator[None]:
    """Let the server look for what it preloads where this process would."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    try:
        yield
    finally:
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before


def finish(process: BaseProcess) -> int:
    """Wait for the end of a process and return its exit status, minus the signal that killed it."""
    process.join(120)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError("the process did not end")
    return process.exitcode


def command(arguments: list[str], output: str, fsize: int | None = None) -> None:
    """Run the command line; standard output and error go to files, written files are bounded."""
    for name, stream in (("out", sys.stdout), ("err", sys.stderr)):
        file = os.open(f"{output}.{name}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(file, stream.fileno())
    if fsize is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (fsize, fsize))
    from stairways.cli.main import main

    sys.argv = ["stairways", *arguments]
    main()


def command_that_dies(arguments: list[str], output: str, moment: Moment) -> None:
    """Run the command line and die by SIGKILL at a moment."""
    from stairways.tuning.run_folder import RunLog

    seen = {"events": 0, "syncs": 0}
    log, sync = RunLog.event, os.fsync

    def event(self: RunLog, word: str, name: str, **fields: Any) -> None:
        log(self, word, name, **fields)
        if name == moment.event:
            seen["events"] += 1
            if seen["events"] == moment.count and moment.syncs == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def counted(descriptor: int) -> None:
        sync(descriptor)
        if seen["events"] >= moment.count:
            seen["syncs"] += 1
            if seen["syncs"] == moment.syncs:
                os.kill(os.getpid(), signal.SIGKILL)

    RunLog.event = event  # type: ignore[method-assign]
    os.fsync = counted  # type: ignore[assignment]
    command(arguments, output)


def words_of(output: str) -> tuple[str, str]:
    """Return what a command wrote on standard output and error."""
    out, err = (Path(f"{output}.{name}").read_text(encoding="utf-8") for name in ("out", "err"))
    return out, err
