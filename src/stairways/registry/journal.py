"""The journal: what is being done to the champion, so that a killed process can be followed up.

One JSON file an operation, written in one piece before the first step and again after each, and moved to
``done`` at the end, or to ``taken_back``: what a lost database is made from again must not hold what never
happened. It lies beside the store and not in the database: a way back must not need one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stairways.errors import StorageError
from stairways.registry.canonical import JsonObject
from stairways.registry.files import remove_stale, storage_error, sync_folder
from stairways.registry.sealed import read_sealed, write_sealed

JOURNAL_FOLDER = "journal"
DONE_FOLDER = "done"
TAKEN_BACK_FOLDER = "taken_back"
_SUFFIX = ".json"
_RECORD = "record"
REMEDY = "move it out of the folder, and check which model is live with `stairways registry check`"


class Journal:
    """Operations under way and done.

    Args:
        root: Folder of the registry.
    """

    def __init__(self, root: Path) -> None:
        self.folder = root / JOURNAL_FOLDER
        self.done = self.folder / DONE_FOLDER
        self.taken_back = self.folder / TAKEN_BACK_FOLDER

    def write(self, operation_id: str, record: JsonObject) -> None:
        """Write an operation as it stands.

        Args:
            operation_id: Its name; names sort in the order of their beginnings.
            record: All that is needed to go on, JSON.

        Raises:
            StorageError: If it can't be written; what stood there stays.
        """
        for folder in (self.done, self.taken_back):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise storage_error(error, folder) from error
        write_sealed(self._place(operation_id), _RECORD, record, indent=2)

    def finish(self, operation_id: str, *, taken_back: bool = False) -> None:
        """Move an operation to those that are done, or were taken back; one that was moved stays.

        Raises:
            StorageError: If it can't be moved.
        """
        folder = self.taken_back if taken_back else self.done
        try:
            folder.mkdir(exist_ok=True)
            self._place(operation_id).rename(folder / f"{operation_id}{_SUFFIX}")
            sync_folder(folder)
            sync_folder(self.folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise storage_error(error, self.folder) from error

    def pending(self) -> dict[str, JsonObject]:
        """Return the operations that were begun and not finished, oldest first.

        Raises:
            StorageError: If one can't be read or is damaged.
        """
        if not self.folder.is_dir():
            return {}
        remove_stale(self.folder)
        paths = sorted(self.folder.glob(f"*{_SUFFIX}"))
        return {path.stem: read_sealed(path, _RECORD, remedy=REMEDY) for path in paths}

    def finished(self) -> tuple[str, ...]:
        """Return the names of the operations that are done, oldest first."""
        return tuple(sorted(path.stem for path in self.done.glob(f"*{_SUFFIX}")))

    def read_finished(self, operation_id: str) -> JsonObject:
        """Return an operation that is done.

        Raises:
            StorageError: If it can't be read or is damaged.
        """
        return read_sealed(self.done / f"{operation_id}{_SUFFIX}", _RECORD, remedy=REMEDY)

    @contextmanager
    def parsing(self, operation_id: str, kind: str) -> Iterator[None]:
        """Turn whatever a record of another shape leads to within into one line: another version wrote it."""
        try:
            yield
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise StorageError(
                f"is no {kind} that is understood ({type(error).__name__}: {error})",
                where=str(self._place(operation_id)),
                remedy=REMEDY,
            ) from error

    def _place(self, operation_id: str) -> Path:
        return self.folder / f"{operation_id}{_SUFFIX}"
