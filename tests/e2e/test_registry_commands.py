"""The life of models by commands alone: keys, a registry, a service, a drill, a promotion, two ways back."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import sqlite3
import stat
import tempfile
from pathlib import Path

import pytest
from operations import Site, site_with_gold, wait_for, write_candidate, write_gold

from stairways.registry.registry import Registry


@pytest.fixture
def folder():
    """A folder whose path is short enough for a socket."""
    place = Path(tempfile.mkdtemp(prefix="site-"))
    yield place
    shutil.rmtree(place)


@pytest.fixture
def site(folder):
    """An empty site whose processes end with the test."""
    made = Site(folder)
    yield made
    made.end()


@pytest.mark.slow
def test_the_life_of_models_from_the_first_key_to_the_second_rollback(folder):
    site, key, gold = site_with_gold(folder)
    try:
        _live_through(site, key, gold)
    finally:
        site.end()


def _live_through(site, key, gold):
    folder = site.folder
    first, second, third = (write_candidate(folder / f"c{n}", n, sharpe=float(n)) for n in (1, 2, 3))
    for number in (1, 2, 3):
        site.take_in(folder / f"c{number}", key)
    # refused: nobody ever rehearsed the way back, and with gold alone there is nothing to rehearse with
    checks = {row["name"]: row for row in site.json("promote", first, "--reason", "it passed", status=1)}
    assert [name for name, row in checks.items() if not row["passed"]] == ["drill"]
    assert "rollback drill --sample" in checks["drill"]["reason"]
    drilled = site.json("rollback", "drill", "--sample", "--repeat", "2")
    assert (drilled["n"], drilled["passed"], drilled["recorded"]) == (2, True, True)
    assert 0 < drilled["median_seconds_to_serving"] < 60
    assert [way["n_wrong"] + way["n_dropped"] for way in drilled["ways"]] == [0, 0]

    serving = site.serve()
    assert site.answers() == gold
    before = dt.datetime.now(dt.UTC)
    assert "is champion" in site.run("promote", first, "--reason", "it passed").out
    assert site.answers() == first
    # from now on the sample says nothing about this service
    assert "drill" in site.run("promote", second, "--reason", "better", status=1).out
    assert "passed: " in site.run("rollback", "drill").out
    assert site.answers() == first
    site.run("promote", second, "--reason", "better")
    (live,) = site.json("registry", "live", "--at", before.isoformat())
    assert live["model_id"] == gold
    (live,) = site.json("registry", "live", "--at", dt.datetime.now(dt.UTC).isoformat())
    assert (live["model_id"], live["cause"]) == (second, "promotion")
    shown = site.json("registry", "show", "champion")
    assert (shown["model"], shown["parent"], shown["live"]) == (second, gold, True)
    changed = {row["layer"]: row["n_changed"] for row in site.json("registry", "diff", "champion", "gold")}
    assert [name for name, n in changed.items() if n] == ["value.head.bias"]

    # a byte of what is live flips on the disk: the watch goes back by itself, to the best earlier champion
    watching = site.watch()
    weights = site.registry / "artifacts" / second / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.chmod(0o644)
    weights.write_bytes(content)
    wait_for(lambda: "rolled back" in watching.read_text(), watching)
    assert site.answers() == first
    assert "integrity" in watching.read_text()
    checks = {row["name"]: row for row in site.json("promote", third, "--reason", "better", status=1)}
    assert not checks["latch"]["passed"]
    assert "rollback resume" in checks["latch"]["reason"]
    assert site.run("registry", "check", status=1).out.count(" no ") == 1
    site.run("rollback", "resume", "--reason", "the disk was replaced")
    # quarantined for good
    assert "quarantined for good" in site.run("promote", second, "--reason", "again", status=1).out
    assert (
        "quarantined for good" in site.run("rollback", "now", "--to", second, "--reason", "x", status=2).err
    )

    # somebody reports that it trades nonsense
    steps = {row["name"]: row for row in site.json("rollback", "now", "--reason", "trades nonsense")}
    assert {name: row["status"] for name, row in steps.items()} == dict.fromkeys(
        ("latch", "snapshot", "swap", "serve", "restart", "page", "log"), "done"
    )
    assert site.answers() == gold
    ways = site.json("rollback", "list")
    assert [way["trigger"] for way in ways if not way["is_drill"]] == ["integrity", "person"]
    pages = [json.loads(line) for line in (site.folder / "paging/pages.jsonl").read_text().splitlines()]
    assert any("trades nonsense" in json.dumps(page) for page in pages)
    assert "model.rolled_back" in site.run("audit", "show", "--last", "1").out
    assert "each as it was written" in site.run("audit", "verify").out

    assert "ends" in site.run("serve", "--stop").out
    assert site.running[0].wait(30) == 0, serving.read_text()


def test_a_private_key_is_its_owner_s_alone_and_stands_in_no_output(site):
    said = site.run("keys", "new", "ann.key")
    file = site.folder / "ann.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    secret = file.read_text().splitlines()[1]
    assert secret not in said.out + said.err
    assert secret not in site.run("keys", "new", "ann.key", status=2).err
    file.chmod(0o644)
    write_gold(site.folder / "gold")
    assert "chmod 600" in site.run("sign", "gold", "--key", "ann.key", status=2).complaint


@pytest.fixture
def at_work(folder):
    """A registry with a gold that is live, and its key; nothing runs."""
    return site_with_gold(folder)


def test_keys_are_rotated_and_revoked(at_work):
    site, key, gold = at_work
    new = site.new_key("bob")
    key_id = {row["name"]: row["key_id"] for row in site.json("keys", "list")}
    site.run("keys", "retire", key_id["ann"], "--reason", "a new year")
    # what ann signed before counts, what she signs now does not
    assert "signed by ann" in site.run("verify", site.registry / "champion").out
    write_candidate(site.folder / "late", 1)
    site.run("sign", "late", "--key", key)
    assert "retired before it signed" in site.run("registry", "add", "late", status=2).complaint
    site.take_in(site.folder / "late", new)
    site.run("registry", "check")
    said = site.run("keys", "revoke", key_id["ann"], "--reason", "lost on a train")
    assert "no longer believed" in said.err
    assert "revoked (lost on a train)" in site.run("verify", site.registry / "champion", status=2).complaint
    found = {row["name"]: row["whole"] for row in site.json("registry", "check", status=1)}
    assert [name for name, whole in found.items() if not whole] == [f"artifact {gold[:12]}", "champion"]
    # the same bytes with a signature that counts take the place of those that no longer do
    site.take_in(site.folder / "gold", new)
    site.run("registry", "check")
    assert [row["action"] for row in site.json("audit", "show", "--subject", key_id["ann"])] == [
        "key.trusted",
        "key.retired",
        "key.revoked",
    ]
    assert gold in site.run("verify", site.registry / "champion").out


def test_a_failed_verdict_passes_by_a_signed_waiver_alone_and_shows_for_ever(at_work):
    site, key, _ = at_work
    digest = write_candidate(site.folder / "drifted", 1, failed=("parameter_drift",))
    site.take_in(site.folder / "drifted", key)
    wish = ("promote", digest[:10], "--to", "challenger", "--reason", "for a trial")
    assert "not promoted: parameter_drift" in site.run(*wish, status=1).out
    site.run("keys", "new", "nobody.key")
    reason = "the drift is the new symbol's"
    said = ("waive", digest, "parameter_drift", "--reason", reason, "--name", "Ann")
    # nobody's word is not even kept: it would stand in the way of a word that counts
    assert "not in the trust list" in site.run(*said, "--key", "nobody.key", status=2).complaint
    assert "parameter_drift" in site.run(*wish, status=1).out
    site.run(*said, "--key", key)
    assert "waived already, by Ann" in site.run(*said, "--key", key, status=2).complaint
    assert "waived by Ann" in " ".join(site.run(*wish).out.split())
    assert reason in site.run("registry", "show", digest).out


def test_a_changed_row_of_the_audit_log_is_found_and_a_signed_head_finds_a_rewritten_one(at_work):
    site, key, _ = at_work
    site.run("audit", "sign", "--key", key)
    (head,) = (site.registry / "audit-heads").iterdir()
    copy = site.folder / "head.json"
    shutil.copy(head, copy)
    assert "each as it was written" in site.run("audit", "verify", "--head", copy).out
    backup = site.folder / "copy"
    assert "a whole registry" in site.run("registry", "backup", backup).out
    site.run("registry", "check", "--registry", backup)
    _execute(site, "UPDATE audit_log SET actor = 'somebody' WHERE seq = 2")
    found = site.json("audit", "verify", status=1)
    assert [(row["seq"], "was changed" in row["what"]) for row in found] == [(2, True)]
    assert "row 2" in site.run("registry", "check", status=1).out
    # the tail is cut off, head and all: the log itself is whole, the head kept elsewhere is not in it
    _execute(site, "UPDATE audit_log SET actor = 'root' WHERE seq = 2")
    _execute(site, "UPDATE audit_head SET seq = 1, hash = (SELECT hash FROM audit_log WHERE seq = 1)")
    _execute(site, "DELETE FROM audit_log WHERE seq > 1")
    head.unlink()
    assert "each as it was written" in site.run("audit", "verify").out
    assert "was signed and is missing" in site.run("audit", "verify", "--head", copy, status=1).out
    # the copy is as it was
    site.run("audit", "verify", "--registry", backup)


def test_a_lost_database_is_made_again_and_all_goes_on(at_work):
    site, key, _ = at_work
    site.run("audit", "sign", "--key", key)
    before = site.json("registry", "live")
    for file in site.registry.glob("gate.db*"):
        file.unlink()
    remedy = site.run("registry", "list", status=2).complaint
    assert "restore it from a backup, or begin an empty one" in remedy
    site.run("registry", "create")
    assert site.run("registry", "check", status=1)
    lines = site.run("registry", "reconcile", "--reason", "the disk was lost").out.splitlines()
    assert any(line.endswith("is recorded again") for line in lines)
    assert any("the head is void" in line for line in lines)
    assert site.json("registry", "live") == before
    site.run("registry", "check")
    assert site.run("registry", "reconcile", "--reason", "again").out == "folder and database agree\n"
    # what the database alone had is gone: a drill
    digest = write_candidate(site.folder / "next", 1)
    site.take_in(site.folder / "next", key)
    assert "drill" in site.run("promote", digest, "--reason", "x", status=1).out


def test_a_clock_that_had_run_ahead_is_put_right_by_a_signed_word(at_work):
    site, key, _ = at_work
    digest = write_candidate(site.folder / "next", 1)
    # as a clock that stood in 2031 would have left it
    with Registry.open(site.registry, lambda: dt.datetime(2031, 1, 1, tzinfo=dt.UTC)) as ahead:
        ahead.history.note(ahead.clock(), "ann", "key.looked.at", "x", {})
    site.run("sign", "next", "--key", key)
    complaint = site.run("registry", "add", "next", status=2).complaint
    assert "the last row is of 2031" in complaint
    assert "stairways audit clock" in complaint
    site.run("keys", "new", "nobody.key")
    wish = ("audit", "clock", "--reason", "the time server was wrong", "--key")
    assert "does not count here" in site.run(*wish, "nobody.key", status=2).complaint
    assert "had run ahead to 2031-01-01" in site.run(*wish, key).out
    assert "there is nothing to correct" in site.run(*wish, key, status=2).complaint
    site.run("registry", "add", "next")
    assert "each as it was written" in site.run("audit", "verify").out
    site.run("registry", "check")
    assert site.json("registry", "show", digest[:12])["model"] == digest


def test_a_second_registry_on_the_same_database_is_refused(at_work):
    site, _, _ = at_work
    url = f"sqlite:///{site.registry}/gate.db"
    complaint = site.run("registry", "create", "--registry", "other", "--database", url, status=2).complaint
    assert "the database is that of registry" in complaint


def test_a_damaged_artifact_is_found_by_check_and_named(at_work):
    site, _, gold = at_work
    file = site.registry / "artifacts" / gold / "record.json"
    file.chmod(0o644)
    file.write_bytes(file.read_bytes() + b" ")
    found = {row["name"]: row for row in site.json("registry", "check", status=1)}
    assert not found[f"artifact {gold[:12]}"]["whole"]
    assert not found["champion"]["whole"]
    assert found["audit log"]["whole"]


def _execute(site, statement):
    with sqlite3.connect(site.registry / "gate.db") as connection:
        connection.execute(statement)
    connection.close()
