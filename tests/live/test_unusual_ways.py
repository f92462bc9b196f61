"""Ways back that are out of the ordinary: to nothing, under a wrong clock, from a key that was revoked."""

from __future__ import annotations

from test_rollback import (
    FIRST,
    GOLD,
    SECOND,
    Restarter,
    order_of,
    pager,
    place,
    statuses,
    watch_of,
)

from registries import Workplace
from stairways.errors import StorageError
from stairways.evaluation.trigger_config import TriggerConfig
from stairways.live.incidents import Incident, Incidents
from stairways.live.rollback import go_on, resume, roll_back
from stairways.live.targets import choose_target
from stairways.live.trips import Outcome
from stairways.live.watch import Watch
from stairways.registry.history_records import Stage
from stairways.registry.keys import SigningKey
from stairways.registry.signatures import sign_artifact
from stairways.registry.stories import differences

__all__ = ["pager", "place"]


def damage(place: Workplace, *digests: str) -> None:
    for digest in digests:
        (place.registry.store.place(digest) / "manifest.json").write_bytes(b"{}")


def signed_anew(place: Workplace, digest: str, key: SigningKey) -> None:
    sign_artifact(place.folder / digest, key, place.clock())
    place.registry.add(place.folder / digest, "ann")


def test_with_nothing_to_go_back_to_the_service_is_stopped_and_the_model_barred(place, pager, tmp_path):
    damage(place, GOLD.digest, FIRST.digest)
    target = choose_target(place.registry, SECOND.digest, TriggerConfig()).digest
    assert target is None
    restarter = Restarter()
    outcome = roll_back(place.registry, restarter, pager, order_of(place, target=None))
    assert restarter.asked == ["stop"]
    assert statuses(outcome)["swap"] == "failed"
    assert statuses(outcome)["log"] == "done"
    assert not outcome.finished
    assert "nothing verifies" in outcome.what_happened()
    assert "the service is stopped" in outcome.what_happened()
    registry = place.registry
    assert registry.store.is_quarantined(SECOND.digest)
    assert registry.store.is_latched
    (record,) = registry.history.rollbacks()
    assert (record.target_model, record.swapped_at) == (None, None)
    assert "NOT rolled back" in (tmp_path / "pages.jsonl").read_text()
    assert differences(registry) == ()


def test_gold_that_is_whole_again_is_gone_back_to(place, pager):
    """Each time that it is gone on with, another target is looked for."""
    manifest = place.registry.store.place(GOLD.digest) / "manifest.json"
    whole = manifest.read_bytes()
    damage(place, GOLD.digest, FIRST.digest)
    roll_back(place.registry, Restarter(), pager, order_of(place, target=None))
    (still,) = go_on(place.registry, Restarter(), pager)
    assert still.swapped_at is None
    manifest.write_bytes(whole)
    (outcome,) = go_on(place.registry, Restarter(), pager)
    assert outcome.order.target == GOLD.digest
    assert outcome.swapped_at is not None
    assert place.registry.store.champion() == GOLD.digest
    (record,) = place.registry.history.rollbacks()
    assert record.target_model == GOLD.digest
    assert place.registry.history.live_at(place.clock()).model_id == GOLD.digest
    assert differences(place.registry) == ()
    assert place.registry.verify_audit() == ()
    assert not place.registry.journal.pending()


def test_the_watch_stops_what_it_can_not_replace_and_goes_on_when_gold_is_whole(place, pager, tmp_path):
    manifest = place.registry.store.place(GOLD.digest) / "manifest.json"
    whole = manifest.read_bytes()
    damage(place, GOLD.digest, FIRST.digest)
    restarter = Restarter()
    watch = Watch(place.registry, restarter, pager, TriggerConfig())
    Incidents(place.registry.root).report(Incident("ann", "trades nonsense", place.clock()))
    assert watch.look().swapped_at is None
    assert restarter.asked == ["stop"]
    for _ in range(3):
        assert watch.look() is None
        assert any("tried again at each look" in line for line in watch.faults)
    assert restarter.asked == ["stop"]
    assert (tmp_path / "pages.jsonl").read_text().count("NOT rolled back") == 1
    manifest.write_bytes(whole)
    assert watch.look().order.target == GOLD.digest
    assert place.registry.store.champion() == GOLD.digest


def test_the_watch_tells_that_the_way_back_is_lost_while_all_else_is_well(place, pager):
    watch = watch_of(place, pager)
    assert watch.look() is None
    assert watch.faults == ()
    damage(place, GOLD.digest)
    # it is looked at once a minute
    watch = watch_of(place, pager)
    assert watch.look() is None
    assert any("no gold verifies" in line for line in watch.faults)
    assert place.registry.store.champion() == SECOND.digest


def test_a_damaged_trust_list_is_told_and_bars_no_model(place, pager):
    trust = place.registry.store.trust_file
    trust.write_bytes(trust.read_bytes()[:-20])
    watch = watch_of(place, pager)
    assert watch.look() is None
    assert any("trust.json" in line for line in watch.faults)
    assert not any("gold" in line for line in watch.faults)
    assert [trip.outcome for trip in watch.trips if trip.name == "integrity"] == [Outcome.UNMEASURED]
    assert not place.registry.store.is_quarantined(SECOND.digest)
    assert place.registry.store.champion() == SECOND.digest


def test_a_model_whose_key_was_revoked_goes_and_may_come_back_signed_anew(place, pager, tmp_path):
    registry, old, new = place.registry, place.key, SigningKey.new()

    def trust(change, action: str, key_id: str) -> None:
        registry.change_trust(change, "ann", action, key_id)

    trust(lambda now: now.added(new.public, "ann's next key", place.clock()), "key.trusted", new.key_id)

    # gold is signed by the new key before the old one is revoked; the others are not
    signed_anew(place, GOLD.digest, new)
    assert registry.read(GOLD.digest).signer.key_id == new.key_id
    assert registry.history.audit_entries(last=1)[0].action == "model.signed"
    trust(lambda now: now.revoked(old.key_id, "stolen", place.clock()), "key.revoked", old.key_id)
    outcome = watch_of(place, pager).look()
    assert (outcome.order.trigger, outcome.order.target) == ("integrity", GOLD.digest)
    assert registry.store.champion() == GOLD.digest
    assert not registry.store.is_quarantined(SECOND.digest)
    assert registry.history.find(SECOND.digest).role == Stage.CHALLENGER
    assert differences(registry) == ()
    resume(registry, "ann", "all is signed anew")
    signed_anew(place, SECOND.digest, new)
    assert place.promote(SECOND.digest).promoted
    assert differences(registry) == ()


def test_a_way_back_that_another_finished_is_not_gone_again_by_the_watch(place, pager, monkeypatch):
    """What it went back from was signed anew and promoted again since."""
    registry, new = place.registry, SigningKey.new()

    def broken(digest):
        raise StorageError("read-only file system")

    old, now = place.key.key_id, place.clock()
    registry.change_trust(lambda one: one.added(new.public, "ann", now), "ann", "key.trusted", new.key_id)
    signed_anew(place, GOLD.digest, new)
    registry.change_trust(lambda one: one.revoked(old, "stolen", now), "ann", "key.revoked", old)
    watch = watch_of(place, pager)
    with monkeypatch.context() as patch:
        patch.setattr(registry.store, "swap", broken)
        assert watch.look().swapped_at is None
    (other,) = go_on(registry, Restarter(), pager)
    assert other.finished
    assert watch.look() is None
    resume(registry, "ann", "all is signed anew")
    signed_anew(place, SECOND.digest, new)
    assert place.promote(SECOND.digest).promoted
    assert watch.look() is None
    assert registry.store.champion() == SECOND.digest


def test_a_clock_that_was_set_back_bars_no_model_and_hinders_no_way_back(place, pager):
    place.clock.at = place.clock.at.replace(year=1970)
    watch = watch_of(place, pager)
    assert watch.look() is None
    assert [trip.outcome for trip in watch.trips if trip.name == "integrity"] == [Outcome.HEALTHY]
    assert watch.faults == ()
    target = choose_target(place.registry, SECOND.digest, TriggerConfig()).digest
    outcome = roll_back(place.registry, Restarter(), pager, order_of(place, target=target))
    assert place.registry.store.champion() == FIRST.digest
    assert outcome.finished


def test_a_way_back_that_only_the_database_remembers_is_gone_on_with(place, pager, monkeypatch):
    """The disk was broken from the first entry of the journal on, and is whole again."""
    store, journal = place.registry.store, place.registry.journal

    def broken(*_, **__):
        raise StorageError("input/output error")

    for owner, name in ((store, "latch"), (store, "quarantine"), (store, "swap"), (journal, "write")):
        monkeypatch.setattr(owner, name, broken)
    restarter = Restarter()
    outcome = roll_back(place.registry, restarter, pager, order_of(place))
    assert restarter.asked == ["stop"]
    assert statuses(outcome)["log"] == "done"
    monkeypatch.undo()
    assert store.champion() == SECOND.digest
    assert not journal.pending()
    assert not store.is_quarantined(SECOND.digest)
    (again,) = go_on(place.registry, Restarter(), pager)
    assert again.operation_id == outcome.operation_id
    assert again.finished
    # where it leads is found anew
    assert store.champion() == FIRST.digest
    assert store.is_quarantined(SECOND.digest)
    assert store.is_latched
    assert differences(place.registry) == ()
    assert go_on(place.registry, Restarter(), pager) == ()


def test_a_gold_that_failed_is_quarantined_everywhere(place, pager):
    registry = place.registry
    roll_back(registry, Restarter(), pager, order_of(place))
    roll_back(registry, Restarter(), pager, order_of(place, failed=GOLD.digest, target=FIRST.digest))
    assert registry.store.champion() == FIRST.digest
    assert registry.history.find(GOLD.digest).role == Stage.QUARANTINED
    assert differences(registry) == ()
