"""Changes of the trust list: each stands in the list and in the audit log, or in neither.

The new list is written inside the transaction of its row, just before the commit. Until both stand, a file
beside the list says what was begun: a process that is killed in between is followed up by the next change.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from stairways.errors import StairwaysError, StorageError
from stairways.registry.canonical import JsonObject
from stairways.registry.files import as_storage_error, sync_folder
from stairways.registry.keys import TrustList, write_trust
from stairways.registry.sealed import read_sealed, write_sealed

if TYPE_CHECKING:
    from stairways.registry.history import ModelHistory
    from stairways.registry.store import Store

PENDING_FILE = "trust.pending.json"
TAKEN_BACK = "key.taken_back"
_CHANGE = "change"
_REMEDY = "move it away, and see that `stairways keys list` and `stairways audit show` say the same"


def change_trust(
    store: Store,
    history: ModelHistory,
    clock: Callable[[], dt.datetime],
    change: Callable[[TrustList], TrustList],
    by: str,
    action: str,
    key_id: str,
) -> None:
    """Change the trust list and note it in the audit log; the caller holds the lock.

    Raises:
        SigningKeyError: If the change makes no sense.
        StorageError: If it can't be written; the old list stands then. If the answer to the commit alone was
            lost the new one does: the trust list says which.
    """
    finish_change(store, history, clock)
    before = store.trust()
    after = change(before)
    at, details = clock(), {"change_id": secrets.token_hex(8), "keys": len(after.keys)}
    begun = {
        "action": action,
        "after": _digest(after.encode()),
        "at": at.isoformat(),
        "before": _digest(before.encode()),
        "by": by,
        "details": details,
        "key_id": key_id,
    }
    place = store.root / PENDING_FILE
    write_sealed(place, _CHANGE, begun, indent=2)
    try:
        history.note(at, by, action, key_id, details, lambda: write_trust(store.trust_file, after))
    except StairwaysError:
        try:
            noted = bool(_noted(history, begun))
        except StairwaysError:
            noted = None
        if not noted and store.trust() != before:
            write_trust(store.trust_file, before)
        if noted is False:
            _remove(place)
        # else the commit was not heard of, or it can't be seen whether it stands: the next change looks
        raise
    _remove(place)


def finish_change(store: Store, history: ModelHistory, clock: Callable[[], dt.datetime]) -> None:
    """Finish a change that was begun by a process that is gone; the caller holds the lock.

    The list that stands counts: a change that is in force and was not noted is noted late, and one that was
    noted and is not in force is noted as taken back. No list is taken from the file of what was begun: nobody
    asks who may have written that.

    Raises:
        StorageError: If it can't be finished.
    """
    place = store.root / PENDING_FILE
    if not place.exists():
        return
    begun = read_sealed(place, _CHANGE, remedy=_REMEDY)
    try:
        with as_storage_error(store.trust_file):
            present = _digest(store.trust_file.read_bytes())
        details, noted = begun["details"], _noted(history, begun)
        if noted and TAKEN_BACK not in noted and present == begun["before"]:
            details = {"action": begun["action"], "change_id": details["change_id"]}
            history.note(clock(), begun["by"], TAKEN_BACK, begun["key_id"], details)
        if not noted and present == begun["after"]:
            details = details | {"happened_at": begun["at"]}
            history.note(clock(), begun["by"], begun["action"], begun["key_id"], details)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StorageError(f"is no change of ours ({error!r})", where=str(place), remedy=_REMEDY) from error
    _remove(place)


def _noted(history: ModelHistory, begun: JsonObject) -> set[str]:
    """Return what the audit log says was done about a change."""
    change_id = begun["details"]["change_id"]
    entries = history.audit_entries(subject=begun["key_id"])
    return {entry.action for entry in entries if entry.details.get("change_id") == change_id}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _remove(place: Path) -> None:
    with as_storage_error(place):
        place.unlink(missing_ok=True)
        sync_folder(place.parent)
