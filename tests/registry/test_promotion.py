import datetime as dt

import pytest
from rolling_back import rolled_back
from sqlalchemy import text

from registries import (
    NOON,
    RECORD,
    WEEK,
    ManualClock,
    Workplace,
    candidate_of,
    gold_artifact,
    judged,
    workplace,
)
from stairways.errors import SignatureError, StorageError
from stairways.evaluation.gate_config import GateConfig
from stairways.evaluation.gates import required_names
from stairways.registry.connection import writing
from stairways.registry.history_records import RollbackRecord, Stage
from stairways.registry.keys import SigningKey
from stairways.registry.promotion import recover
from stairways.registry.registry import Registry
from stairways.registry.waivers import make_waiver

GOLD = gold_artifact()


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path) -> Workplace:
    """The same contract on both databases."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    made = workplace(tmp_path, url=url)
    made.drilled()
    yield made
    made.registry.close()


@pytest.fixture
def live(place) -> Workplace:
    """Gold is live."""
    assert place.promote(GOLD.digest, Stage.GOLD).promoted
    return place


def failed(outcome) -> list[str]:
    assert not outcome.promoted
    return [check.name for check in outcome.failures()]


def test_gold_goes_live_first_and_stays_gold(place):
    outcome = place.promote(GOLD.digest, Stage.GOLD)
    assert outcome.promoted
    assert place.registry.store.champion() == GOLD.digest
    model = place.registry.history.find(GOLD.digest)
    assert (model.role, model.is_production) == (Stage.GOLD, True)


def test_a_candidate_that_passed_everything_becomes_champion(live):
    digest = live.add(candidate_of(GOLD))
    outcome = live.promote(digest)
    assert outcome.promoted
    assert all(check.passed for check in outcome.checks)
    assert live.registry.store.champion() == digest
    models = {model.model_id: model for model in live.registry.history.models()}
    assert (models[digest].role, models[digest].is_production) == (Stage.CHAMPION, True)
    assert (models[GOLD.digest].role, models[GOLD.digest].is_production) == (Stage.GOLD, False)
    record = live.registry.history.promotions(digest)[0]
    assert record == outcome.record
    assert record.previous_champion == GOLD.digest
    assert record.signer == f"ann's key ({live.key.key_id})"
    assert [one["name"] for one in record.verdicts] == list(required_names(GateConfig()))
    assert live.registry.journal.pending() == {}
    assert live.registry.verify_audit() == ()


def test_what_was_live_at_a_time(live):
    first, second = live.add(candidate_of(GOLD)), live.add(candidate_of(GOLD, 1))
    live.clock.at = NOON + dt.timedelta(hours=1)
    live.promote(first, by="bob")
    live.clock.at = NOON + dt.timedelta(hours=2)
    live.promote(second, Stage.CHALLENGER)
    live.clock.at = NOON + dt.timedelta(hours=3)
    live.promote(second, by="cleo")
    history = live.registry.history
    found = [history.live_at(NOON + dt.timedelta(hours=h)) for h in (0.5, 1.5, 2.5, 3.5)]
    assert [(one.model_id, one.put_by) for one in found] == [
        (GOLD.digest, "ann"),
        (first, "bob"),
        (first, "bob"),
        (second, "cleo"),
    ]
    assert history.live_at(NOON - WEEK) is None
    assert history.find(first).role == Stage.CHALLENGER
    ends = [tenure.ended_at for tenure in history.tenures()]
    assert ends == [tenure.began_at for tenure in history.tenures()[1:]] + [None]


@pytest.mark.parametrize("name", required_names(GateConfig()))
def test_each_verdict_must_be_there_and_passed(live, name):
    for number, record in enumerate((judged(name), judged(missing=(name,)))):
        digest = live.add(candidate_of(GOLD, number), record)
        assert failed(live.promote(digest)) == [name]
    assert live.registry.store.champion() == GOLD.digest


def test_a_verdict_that_only_looks_true_did_not_pass(live):
    record = judged()
    record["verdicts"][0]["passed"] = "yes"
    digest = live.add(candidate_of(GOLD), record)
    assert failed(live.promote(digest)) == [record["verdicts"][0]["name"]]


def test_a_candidate_without_verdicts_fails_them_all(live):
    digest = live.add(candidate_of(GOLD), RECORD)
    assert failed(live.promote(digest)) == list(required_names(GateConfig()))


def waive(place: Workplace, digest: str, verdict: str, key: SigningKey | None = None) -> None:
    waiver = make_waiver(
        waiver_id=f"w-{verdict}",
        model_id=digest,
        verdict=verdict,
        name="dora",
        reason="drift is from a new regime gate",
        at=place.clock(),
        key=key or place.key,
    )
    place.registry.history.waive(waiver)


def test_a_failed_verdict_passes_by_a_signed_waiver(live):
    digest = live.add(candidate_of(GOLD), judged("parameter_drift"))
    waive(live, digest, "parameter_drift")
    outcome = live.promote(digest)
    assert outcome.promoted
    waived = next(check for check in outcome.checks if check.name == "parameter_drift")
    assert waived.waived_by == "dora, signed by ann's key"
    assert outcome.record.waivers[0]["reason"] == "drift is from a new regime gate"
    changes = live.registry.history.changes(outcome.record.operation_id)
    assert {change.validation_passed for change in changes} == {False}


def test_a_waiver_counts_for_its_verdict_its_model_and_its_words(live):
    digest = live.add(candidate_of(GOLD), judged("parameter_drift", "hold_rate"))
    other = live.add(candidate_of(GOLD, 1), judged("parameter_drift"))
    waive(live, digest, "parameter_drift")
    assert failed(live.promote(digest)) == ["hold_rate"]
    assert failed(live.promote(other)) == ["parameter_drift"]
    with writing(live.registry.engine) as connection:
        connection.execute(text("UPDATE waivers SET model_id = :other"), {"other": other})
    assert failed(live.promote(other)) == ["parameter_drift"]


def test_a_waiver_by_nobody_who_counts_is_none(live):
    digest = live.add(candidate_of(GOLD), judged("hold_rate"))
    waive(live, digest, "hold_rate", SigningKey.new())
    assert failed(live.promote(digest)) == ["hold_rate"]


@pytest.mark.parametrize(("name", "reason"), [("", "long enough a reason"), ("dora", "short")])
def test_a_waiver_needs_a_name_and_a_reason(name, reason):
    with pytest.raises(SignatureError, match="a name and a reason"):
        make_waiver(
            waiver_id="w", model_id="m", verdict="v", name=name, reason=reason, at=NOON, key=SigningKey.new()
        )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"symbols": ("NVDA", "AAPL")}, "symbols NVDA,AAPL, not NVDA,MSFT"),
        ({"interval_minutes": 1}, "interval_minutes 1, not 5"),
        ({"reward_version": "other"}, "reward_version other"),
        ({"environment": {"trading": {"unit_fraction": 0.5}}}, "trading {'unit_fraction': 0.5}, not None"),
        ({"parent_digest": "ef" * 32}, "its gold can't be read"),
    ],
)
def test_a_model_made_for_something_else_is_refused(live, change, words):
    digest = live.add(candidate_of(GOLD, **change) if "parent_digest" not in change else _orphan(change))
    outcome = live.promote(digest)
    assert failed(outcome) == ["environment"]
    assert words in outcome.failures()[0].reason


def _orphan(change):
    from registries import make_artifact

    return make_artifact(**change)


def test_without_a_drill_nothing_becomes_champion(tmp_path):
    place = workplace(tmp_path)
    assert place.promote(GOLD.digest, Stage.GOLD).promoted
    digest = place.add(candidate_of(GOLD))
    assert failed(place.promote(digest)) == ["drill"]
    place.drilled(passed=False)
    assert failed(place.promote(digest)) == ["drill"]
    place.drilled()
    place.clock.at += WEEK + dt.timedelta(minutes=1)
    assert failed(place.promote(digest)) == ["drill"]
    assert place.promote(digest, Stage.CHALLENGER).promoted
    place.drilled()
    assert place.promote(digest).promoted
    place.registry.close()


def test_a_drill_from_the_future_does_not_count(tmp_path):
    place = workplace(tmp_path)
    place.promote(GOLD.digest, Stage.GOLD)
    digest = place.add(candidate_of(GOLD))
    with writing(place.registry.engine) as connection:
        connection.execute(
            text("INSERT INTO drills VALUES ('d', '2027-01-01 00:00:00.000000', 'ann', 1, 0.5, 1, 0, '{}')")
        )
    assert failed(place.promote(digest)) == ["drill"]
    place.registry.close()


def roll_back(place: Workplace, failed_model: str, **changes) -> RollbackRecord:
    now = place.clock()
    values = {
        "operation_id": "r1",
        "trigger": "person",
        "reason": "said so",
        "failed_model": failed_model,
        "target_model": GOLD.digest,
        "detected_at": now,
        "swapped_at": now,
        "ordered_by": "ann",
        "steps": ({"name": "swap", "status": "done"},),
    }
    record = RollbackRecord(**(values | changes))
    place.registry.history.roll_back(record)
    return record


def test_a_rollback_latches_and_quarantines_for_good(live):
    digest, other = live.add(candidate_of(GOLD)), live.add(candidate_of(GOLD, 1))
    live.promote(digest)
    live.registry.store.swap(GOLD.digest)
    roll_back(live, digest)
    assert live.registry.history.find(digest).role == Stage.QUARANTINED
    assert live.registry.history.find(GOLD.digest).is_production
    assert failed(live.promote(other)) == ["latch"]
    assert live.registry.history.resume(live.clock(), "dora", "cause found and mended") == ("r1",)
    assert failed(live.promote(digest)) == ["stage"]
    assert live.promote(other).promoted
    assert [tenure.cause for tenure in live.registry.history.tenures()] == [
        "promotion",
        "promotion",
        "rollback",
        "promotion",
    ]
    assert live.registry.verify_audit() == ()


def test_a_rollback_recorded_again_is_one(live):
    digest = live.add(candidate_of(GOLD))
    live.promote(digest)
    first = roll_back(live, digest, swapped_at=None)
    assert live.registry.history.tenures()[-1].model_id == digest
    again = roll_back(live, digest, seconds_to_serving=1.5)
    assert live.registry.history.rollbacks() == (
        RollbackRecord(**{**vars(first), "swapped_at": again.swapped_at, "seconds_to_serving": 1.5}),
    )
    roll_back(live, digest, seconds_to_serving=1.5)
    assert [tenure.cause for tenure in live.registry.history.tenures()] == ["promotion"] * 2 + ["rollback"]


def test_a_damaged_or_revoked_model_is_refused(live):
    digest, other = live.add(candidate_of(GOLD)), live.add(candidate_of(GOLD, 1))
    path = live.registry.store.place(digest) / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    assert {"signature", "environment"} <= set(failed(live.promote(digest)))
    live.registry.change_trust(
        lambda trust: trust.revoked(live.key.key_id, "lost", live.clock()), "ann", "key.revoked", "k"
    )
    assert "signature" in failed(live.promote(other))
    assert live.registry.store.champion() == GOLD.digest


def test_a_damaged_gold_stops_promotions(live):
    digest = live.add(candidate_of(GOLD))
    path = live.registry.store.place(GOLD.digest) / "record.json"
    path.write_bytes(path.read_bytes() + b" ")
    assert {"gold", "environment"} == set(failed(live.promote(digest)))


@pytest.mark.parametrize(
    ("stage", "to"),
    [(Stage.CANDIDATE, Stage.GOLD), (Stage.GOLD, Stage.CHAMPION), (Stage.CANDIDATE, Stage.QUARANTINED)],
)
def test_steps_that_are_none_are_refused(live, stage, to):
    digest = GOLD.digest if stage == Stage.GOLD else live.add(candidate_of(GOLD))
    assert "stage" in failed(live.promote(digest, to))


def test_what_is_live_is_not_promoted_again(live):
    digest = live.add(candidate_of(GOLD))
    live.promote(digest)
    assert failed(live.promote(digest)) == ["stage"]
    assert live.promote(GOLD.digest, Stage.GOLD).promoted
    assert failed(live.promote(GOLD.digest, Stage.GOLD)) == ["stage"]


def test_an_unknown_model_is_refused(live):
    with pytest.raises(StorageError, match="no such model"):
        live.promote("ab" * 32)


@pytest.mark.parametrize("missing", ["by", "reason"])
def test_a_promotion_has_a_name_and_a_reason(live, missing):
    with pytest.raises(StorageError, match="a name and a reason"):
        live.promote(live.add(candidate_of(GOLD)), **{missing: " "})


def test_the_parameter_audit_compares_with_gold_and_with_the_champion_before(live):
    first, second = live.add(candidate_of(GOLD)), live.add(candidate_of(GOLD, 1))
    live.promote(first)
    record = live.promote(second).record
    changes = {(c.reference_id, c.layer): c for c in live.registry.history.changes(record.operation_id)}
    assert set(changes) == {
        (reference, layer) for reference in (GOLD.digest, first) for layer in ("actor.weight", "actor.bias")
    }
    weight = changes[first, "actor.weight"]
    assert (weight.n_parameters, weight.n_changed) == (12, 12)
    assert weight.largest == pytest.approx(1.0, rel=1e-6)
    assert weight.l2_norm == pytest.approx(12**0.5, rel=1e-6)
    assert changes[GOLD.digest, "actor.bias"].n_changed == 0
    assert weight.authorized_by == "ann"
    assert weight.validation_passed


def test_a_database_that_can_not_commit_leaves_the_champion(live, monkeypatch):
    digest = live.add(candidate_of(GOLD))
    swapped = []
    swap = live.registry.store.swap

    def swap_and_break(name):
        swap(name)
        swapped.append(live.registry.store.champion())
        if name == digest:
            raise StorageError("the disk is full")

    monkeypatch.setattr(live.registry.store, "swap", swap_and_break)
    with pytest.raises(StorageError, match="the disk is full"):
        live.promote(digest)
    assert swapped == [digest, GOLD.digest]
    assert live.registry.store.champion() == GOLD.digest
    assert live.registry.history.find(digest).role == Stage.CANDIDATE
    monkeypatch.undo()
    assert live.promote(digest).promoted
    assert live.registry.journal.pending() == {}
    actions = [entry.action for entry in live.registry.history.audit_entries(subject=digest)]
    assert actions == ["model.added", "promotion.taken_back", "model.promoted"]


def unheard(live: Workplace, monkeypatch) -> None:
    """Let the database take the commit behind the next swap, and say that it did not."""
    dialect, swap = live.registry.engine.dialect, live.registry.store.swap
    commit = dialect.do_commit

    def lost(connection):
        commit(connection)
        raise dialect.loaded_dbapi.OperationalError("the disk is broken")

    def swap_and_lose(name):
        swap(name)
        monkeypatch.setattr(dialect, "do_commit", lost)

    monkeypatch.setattr(live.registry.store, "swap", swap_and_lose)


def test_a_promotion_whose_commit_stands_is_one_whatever_the_database_said(live, monkeypatch):
    digest = live.add(candidate_of(GOLD))
    unheard(live, monkeypatch)
    assert live.promote(digest).promoted
    monkeypatch.undo()
    assert live.registry.store.champion() == digest
    assert live.registry.history.find(digest).role == Stage.CHAMPION
    assert live.registry.journal.pending() == {}


def test_a_commit_that_failed_and_stands_after_a_crash_is_followed_up(live, monkeypatch):
    """SQLite takes a commit back whose bytes may have reached the disk, and be read from its log again."""
    digest = live.add(candidate_of(GOLD))
    unheard(live, monkeypatch)
    monkeypatch.setattr(live.registry.history, "promotions", lambda model_id: ())
    with pytest.raises(StorageError, match="the disk is broken"):
        live.promote(digest)
    assert live.registry.store.champion() == GOLD.digest
    monkeypatch.undo()
    (line,) = recover(live.registry)
    assert line.endswith("finished")
    assert live.registry.store.champion() == digest
    assert live.registry.history.live_at(live.clock()).model_id == digest
    assert live.registry.journal.pending() == {}


def test_what_can_not_be_seen_is_not_taken_back(live, monkeypatch):
    """Whether a promotion stands decides which way it is followed up: nothing is guessed."""
    digest = live.add(candidate_of(GOLD))
    unheard(live, monkeypatch)
    monkeypatch.setattr(live.registry.history, "promotions", lambda model_id: ())
    with pytest.raises(StorageError, match="the disk is broken"):
        live.promote(digest)
    live.registry.store.swap(GOLD.digest)

    def lost(*_):
        raise StorageError("the database is lost")

    monkeypatch.undo()
    monkeypatch.setattr(live.registry.history, "promotions", lost)
    with pytest.raises(StorageError, match="the database is lost"):
        recover(live.registry)
    assert len(live.registry.journal.pending()) == 1
    monkeypatch.undo()
    (line,) = recover(live.registry)
    assert line.endswith("finished")
    assert live.registry.store.champion() == digest


def unfinished(live: Workplace, digest: str, monkeypatch) -> None:
    """Promote, with a journal that can't be put aside."""

    def full(*_, **__):
        raise StorageError("No space left on device")

    with monkeypatch.context() as held:
        held.setattr(live.registry.journal, "finish", full)
        assert live.promote(digest).promoted


def test_a_journal_that_can_not_be_put_aside_is_by_the_next(live, monkeypatch):
    first, second = live.add(candidate_of(GOLD)), live.add(candidate_of(GOLD, 1))
    unfinished(live, first, monkeypatch)
    assert live.registry.store.champion() == first
    assert len(live.registry.journal.pending()) == 1
    assert live.promote(second).promoted
    assert live.registry.journal.pending() == {}
    assert len(live.registry.history.promotions(first)) == 1


def test_a_promotion_that_was_rolled_back_is_not_made_live_again(live, monkeypatch):
    """Its journal was still there when somebody let promotions go on."""
    first, second = live.add(candidate_of(GOLD)), live.add(candidate_of(GOLD, 1))
    unfinished(live, first, monkeypatch)
    assert rolled_back(live, first, GOLD.digest).finished
    live.registry.history.resume(live.clock(), "dora", "cause found and mended")
    live.registry.store.unlatch()
    recover(live.registry)
    assert live.registry.store.champion() == GOLD.digest
    assert live.promote(second).promoted


def test_a_folder_that_can_not_be_written_leaves_the_champion(public_folder, without_rights):
    place = workplace(public_folder / "deep")
    place.promote(GOLD.digest, Stage.GOLD)
    place.drilled()
    digest = place.add(candidate_of(GOLD))
    with without_rights(place.registry.root), pytest.raises(StorageError):
        place.promote(digest)
    assert place.registry.store.champion() == GOLD.digest
    assert place.promote(digest).promoted
    place.registry.close()


def test_a_clock_that_was_set_back_promotes_nothing(live):
    digest = live.add(candidate_of(GOLD))
    live.clock.at -= dt.timedelta(minutes=3)
    with pytest.raises(StorageError, match="set the clock"):
        live.promote(digest)
    assert live.registry.store.champion() == GOLD.digest


def test_a_drill_on_a_sample_counts_until_there_is_a_model_of_one_s_own_to_drill_with(tmp_path):
    place = workplace(tmp_path)
    first, second = place.add(candidate_of(GOLD)), place.add(candidate_of(GOLD, 1))
    place.promote(GOLD.digest, Stage.GOLD)
    place.drilled(on_sample=True, passed=False)
    assert failed(place.promote(first)) == ["drill"]
    place.drilled(on_sample=True)
    assert place.promote(first).promoted
    assert failed(place.promote(second)) == ["drill"]
    place.drilled()
    assert place.promote(second).promoted
    place.registry.close()


def test_a_gold_that_is_quarantined_is_none_to_go_back_to(live):
    digest = live.add(candidate_of(GOLD))
    live.registry.store.quarantine(GOLD.digest, "a test")
    assert failed(live.promote(digest)) == ["gold"]


def test_two_names_for_one_model(live):
    digest = live.add(candidate_of(GOLD))
    registry = live.registry
    assert registry.resolve("gold") == registry.resolve("champion") == GOLD.digest
    assert registry.resolve(digest[:10]) == registry.resolve(digest) == digest
    with pytest.raises(StorageError, match="no model called zz"):
        registry.resolve("zz")
    with pytest.raises(StorageError, match="no model called nothing"):
        registry.resolve("")


def test_signed_heads_find_a_log_that_was_rewritten(live):
    live.registry.sign_audit(live.key)
    assert live.registry.verify_audit() == ()
    with writing(live.registry.engine) as connection:
        connection.execute(text("DELETE FROM audit_log"))
        connection.execute(text(f"UPDATE audit_head SET seq = 0, hash = '{'0' * 64}', at = NULL"))  # noqa: S608
    assert [fault.what for fault in live.registry.verify_audit()] == ["was signed and is missing"]


def test_a_forged_head_is_refused(live):
    live.registry.sign_audit(SigningKey.new())
    with pytest.raises(SignatureError, match="not in the trust list"):
        live.registry.verify_audit()


def test_an_open_registry_is_one_folder(tmp_path):
    with pytest.raises(StorageError, match="is no registry"):
        Registry.open(tmp_path, ManualClock())
    workplace(tmp_path).registry.close()
    with Registry.open(tmp_path / "registry", ManualClock()) as registry:
        assert [model.role for model in registry.history.models()] == [Stage.GOLD]
        assert recover(registry) == ()
