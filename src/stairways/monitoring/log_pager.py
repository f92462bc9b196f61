"""Pages as lines of JSON in a file, for people without PagerDuty."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from stairways.errors import PagingError
from stairways.monitoring.page import Page
from stairways.monitoring.pager import Delivery, FlushReport
from stairways.registry.canonical import canonical_json


class LogPager:
    """Appends each page to a file, brought to the disk before it counts as delivered.

    Args:
        path: The file, readable by its owner alone; missing folders are made with the first page.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def send(self, page: Page) -> Delivery:
        """Append a page.

        Raises:
            PagingError: If the file can't be written: the page is kept nowhere then.
        """
        started = time.monotonic()
        try:
            self._append(canonical_json(page.as_record()) + b"\n")
        except OSError as error:
            raise PagingError(
                f"the page {page.dedup_key} was not written ({error.strerror or error})",
                where=str(self._path),
                remedy="free some space or name another file in paging.log_file",
            ) from error
        return Delivery("delivered", page.dedup_key, attempts=1, seconds=time.monotonic() - started)

    def flush(self) -> FlushReport:
        """Return an empty report: nothing ever waits."""
        return FlushReport()

    def _append(self, line: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            size = os.fstat(descriptor).st_size
            # A writer that was killed, or a disk that was full, may have left half a line.
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            rest = memoryview(b"\n" + line if torn else line)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
