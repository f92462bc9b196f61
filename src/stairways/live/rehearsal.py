"""What a drill leaves behind it: what was live before is made live again, also when the drill was killed.

The rollbacks that are marked as drills say themselves what is left to do, so nothing else has to be kept: one
that still latches, while no drill runs, was never put back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stairways.errors import StairwaysError, StorageError
from stairways.live.incidents import Incidents
from stairways.registry.promotion import KIND as PROMOTION
from stairways.registry.store import DRILL_LOCK

if TYPE_CHECKING:
    from stairways.registry.history_records import RollbackRecord
    from stairways.registry.registry import Registry

REASON = "DRILL: marked test incident"


def put_back(registry: Registry, way: RollbackRecord, by: str) -> str:
    """Make live again what a drill went back from, unless something real happened meanwhile; return how.

    Done twice, it stands once.

    Raises:
        StorageError: If what is live is neither what the drill went back from nor to, or the former does not
            verify; nothing is changed then.
    """
    store, history, failed = registry.store, registry.history, way.failed_model
    with store.lock():
        present = store.champion()
        barred = not way.is_drill or store.is_quarantined(failed)
        if present not in (way.target_model, failed) or barred:
            raise StorageError(
                f"{str(present)[:12]} is live and stays: a real rollback came between",
                where=str(registry.root),
                remedy="see `stairways rollback list`; the drill changes nothing more",
            )
        try:
            registry.read(failed)
        except StairwaysError as error:
            raise StorageError(
                f"what the drill went back from does not verify: {error.line()}",
                where=str(registry.root),
                remedy="the drill puts it back no more; `stairways rollback resume` when it is understood",
            ) from error
        now = registry.clock()
        if present != failed:
            store.swap(failed)
        if history.tenures()[-1].model_id != failed:
            history.restore(f"{way.operation_id}-back", failed, now, by)
        history.resume(now, by, REASON, way.operation_id)
        if not history.latched():
            store.unlatch()
    return f"drill {way.operation_id}: {failed[:12]} is live again"


def take_up(registry: Registry, by: str) -> tuple[str, ...]:
    """End every drill that a killed process left; while one runs nothing is done.

    Args:
        registry: The registry.
        by: Who ends them.

    Returns:
        One line for each.

    Raises:
        StorageError: If one can't be ended: promotions wait until a person resumes.
    """
    with registry.store.lock_if_free(DRILL_LOCK) as alone:
        return _ended(registry, by) if alone else ()


def withdraw(registry: Registry) -> None:
    """Put aside what drills reported that run no more: nobody shall rehearse alone later.

    Raises:
        StorageError: If it can't be moved.
    """
    with registry.store.lock_if_free(DRILL_LOCK) as alone:
        if not alone:
            return
        incidents = Incidents(registry.root)
        for name, incident in incidents.look()[0].items():
            if incident.is_drill:
                incidents.close(name)


def _ended(registry: Registry, by: str) -> tuple[str, ...]:
    store = registry.store
    if not store.is_latched:
        return ()
    if any(entry.get("kind") != PROMOTION for entry in registry.journal.pending().values()):
        # a way back that is not finished comes first
        return ()
    drills = [way for way in registry.history.rollbacks() if way.is_drill]
    lines = tuple(put_back(registry, way, by) for way in drills if way.resumed_at is None)
    latch = store.latched_by()
    if latch in {way.operation_id for way in drills} and not registry.history.latched():
        # killed between the database and the file
        with store.lock():
            store.unlatch()
    return lines
