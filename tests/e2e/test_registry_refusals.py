"""What the commands on a registry refuse: one line with what, where and what to do, and the right status."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from operations import COMMAND, Site, site_with_gold, wait_for, write_candidate

from stairways.live.incidents import Incident, Incidents
from stairways.registry.registry import Registry

UNREACHABLE = "postgresql://desk:s3cret@127.0.0.1:1/gate"


@pytest.fixture(scope="module")
def standing():
    """A registry with a gold that is live and a candidate; nothing runs, and nothing is changed."""
    folder = Path(tempfile.mkdtemp(prefix="site-"))
    site, key, gold = site_with_gold(folder)
    site.candidate = write_candidate(folder / "candidate", 1)
    site.take_in(folder / "candidate", key)
    yield site, key, gold
    shutil.rmtree(folder)


@pytest.fixture
def refused(cli, standing, monkeypatch):
    """Run a command in this process that must end with one line, and return it."""
    site, _, _ = standing
    monkeypatch.chdir(site.folder)
    monkeypatch.setenv("STAIRWAYS_REGISTRY", str(site.registry))
    monkeypatch.delenv("STAIRWAYS_SIGNING_KEY", raising=False)

    def check(*arguments, status=2):
        ended = cli(*arguments)
        assert ended.status == status, ended
        assert "s3cret" not in ended.out + ended.err
        return ended.complaint

    return check


MISUSES = {
    "unknown model": (("registry", "show", "zz"), "no model called zz; see `stairways registry list`"),
    "model without a name": (("registry", "show", ""), "no model called nothing"),
    "no registry": (
        ("registry", "list", "--registry", "nowhere"),
        "nowhere: is no registry; make one with `stairways registry create`",
    ),
    "no reason": (("promote", "gold"), "Missing option '--reason'"),
    "an empty reason": (("promote", "gold", "--reason", " "), "a promotion needs a name and a reason"),
    "an unknown stage": (("promote", "gold", "--to", "king", "--reason", "x"), "--to: unknown value king"),
    "a database out of reach": (
        ("registry", "list", "--database", UNREACHABLE),
        "check the database and its URL",
    ),
    "no URL": (("registry", "list", "--database", "what"), "no database URL"),
    "no key": (
        ("sign", "candidate"),
        "no private key was given; name its file, or set STAIRWAYS_SIGNING_KEY",
    ),
    "a key that is not there": (("sign", "candidate", "--key", "no"), "no: No such file or directory"),
    "a private key for a public one": (
        ("keys", "trust", "ann.key", "--name", "Ann"),
        "holds no public key that can be read; name the file that ends in .pub",
    ),
    "a key twice": (("keys", "trust", "ann.key.pub", "--name", "Ann"), "the key is there already, as ann"),
    "an unknown key": (("keys", "retire", "abc", "--reason", "x"), "no such key in the trust list"),
    "no instant": (
        ("registry", "live", "--at", "noon"),
        "--at: no instant: noon; write 2026-07-01T14:30:00Z",
    ),
    "no time zone": (("registry", "live", "--at", "2026-07-01T14:30:00"), "end it with Z or an offset"),
    "an unknown verdict": (
        ("waive", "gold", "luck", "--reason", "because I say so", "--name", "Ann"),
        "waive: no required verdict: luck; one of hold_rate",
    ),
    "a short reason": (
        ("waive", "gold", "hold_rate", "--reason", "so", "--name", "Ann", "--key", "ann.key"),
        "a waiver needs a name and a reason of 10 letters or more",
    ),
    "no such head": (("audit", "verify", "--head", "no.json"), "no.json: No such file or directory"),
    "a backup onto something": (
        ("registry", "backup", "candidate"),
        "candidate: something stands there already",
    ),
    "back to what is live": (
        ("rollback", "now", "--to", "gold", "--reason", "x"),
        "it is what is live; name another",
    ),
    "no drill at all": (("rollback", "drill", "--repeat", "0"), "--repeat"),
    "too long a socket": (("serve", "--socket", "s" * 120), "a socket's path has 100 at most"),
}


@pytest.mark.parametrize("name", MISUSES)
def test_a_mistake_is_one_line_and_status_2(refused, standing, name):
    arguments, words = MISUSES[name]
    site, _, gold = standing
    assert words in refused(*arguments)
    assert (site.registry / "champion").readlink() == Path("artifacts") / gold


@pytest.mark.parametrize("arguments", [("rollback", "drill"), ("serve", "--stop")])
def test_without_a_service_there_is_nothing_to_drill_or_stop(refused, arguments):
    assert "no service is running; start it: `stairways serve`" in refused(*arguments, status=3)


def test_a_damaged_trust_list_believes_nobody(refused, standing):
    site, _, _ = standing
    file = site.registry / "trust.json"
    content = file.read_bytes()
    file.write_bytes(content.replace(b"ann", b"eve", 1) + b"{")
    try:
        assert "is no trust list; restore it from a copy" in refused("verify", "gold")
    finally:
        file.write_bytes(content)


def test_a_lost_database_is_never_replaced_by_an_empty_one(refused, standing, tmp_path):
    site, _, _ = standing
    copy = tmp_path / "registry"
    shutil.copytree(site.registry, copy, symlinks=True)
    for file in copy.glob("gate.db*"):
        file.unlink()
    said = refused("registry", "list", "--registry", copy)
    assert "its database is not there; name it by --database or STAIRWAYS_DATABASE" in said
    assert not (copy / "gate.db").exists()
    # whoever wants an empty one says so
    site.run("registry", "create", "--registry", copy)
    assert site.json("registry", "list", "--registry", copy) == []


def test_who_may_not_write_reads_and_is_told(standing):
    if os.geteuid() != 0:
        pytest.skip("needs a second user")
    site, _, _ = standing
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    shutil.copytree(site.registry, folder / "registry", symlinks=True)
    words = ["setpriv", "--reuid=65534", "--clear-groups", "true"]
    if shutil.which("setpriv") is None or subprocess.run(words, check=False).returncode:
        pytest.skip("no setpriv")
    # without a place of its own for compiled code either, as in a container that can't write
    environment = site.environment | {"STAIRWAYS_REGISTRY": str(folder / "registry"), "HOME": "/"}
    for name in ("NUMBA_CACHE_DIR", "TMPDIR"):
        environment.pop(name, None)
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--clear-groups", *COMMAND, "promote", "gold", "--reason", "x"],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env=environment,
    )
    shutil.rmtree(folder)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "rights" in done.stderr or "ermission" in done.stderr or "readonly" in done.stderr


@pytest.fixture
def site():
    """A registry of its own whose processes end with the test; gold is live, a candidate waits."""
    folder = Path(tempfile.mkdtemp(prefix="site-"))
    made, key, gold = site_with_gold(folder)
    digest = write_candidate(folder / "candidate", 1)
    made.take_in(folder / "candidate", key)
    _make_live(made, digest, gold)
    yield made, gold, digest
    made.end()
    shutil.rmtree(folder)


def _make_live(site, digest, gold):
    """Promote past the drill, as a test may."""
    from stairways.registry.history_records import PromotionRecord, Stage

    with Registry.open(site.registry, lambda: dt.datetime.now(dt.UTC)) as registry:
        at = registry.clock()
        record = PromotionRecord(
            "promotion-1",
            digest,
            Stage.CANDIDATE,
            Stage.CHAMPION,
            gold,
            at,
            "a test",
            "for a test",
            "a key",
            (),
            (),
        )
        registry.history.promote(record, (), lambda: registry.store.swap(digest))


def test_the_way_back_is_open_when_the_database_is_gone_and_is_recorded_when_it_is_back(site):
    made, gold, digest = site
    database = made.registry / "gate.db"
    content = database.read_bytes()
    database.write_bytes(b"\0" * len(content))
    for file in made.registry.glob("gate.db-*"):
        file.unlink()
    said = made.run("rollback", "now", "--reason", "losing money", status=3)
    assert said.err.startswith("stairways: going back without the database: ")
    assert (made.registry / "champion").readlink() == Path("artifacts") / gold
    assert "log" in said.out
    database.write_bytes(content)
    for file in made.registry.glob("gate.db-*"):
        file.unlink()
    assert "latch" in made.run("promote", digest, "--reason", "again", status=1).out
    made.run("rollback", "finish")
    (way,) = made.json("rollback", "list")
    assert (way["reason"], way["failed_model"], way["target_model"]) == ("losing money", digest, gold)
    assert made.json("registry", "live")[-1]["model_id"] == gold
    made.run("registry", "check")


def test_a_registry_has_one_service_and_one_watch(site):
    made, _, _ = site
    made.serve()
    assert made.run("serve", "--ready").out.strip() == made.answers()
    said = made.run("serve", "--socket", made.folder / "other", status=2).complaint
    assert "another service answers for this registry; stop that one first" in said
    made.watch()
    said = made.run("watch", status=2).complaint
    assert "another `stairways watch` watches it; stop that one first" in said
    # Ctrl-C ends the watch, and says what that means
    watch = made.running[-1]
    watch.send_signal(signal.SIGINT)
    assert watch.wait(30) == 130
    assert "nobody watches now, give the same command again" in (made.folder / "watch-1.txt").read_text()


def test_a_watch_that_was_killed_goes_back_once_for_one_report(site):
    made, gold, digest = site
    # what a kill between the swap and the page leaves: the link is replaced, the incident still open
    now = dt.datetime.now(dt.UTC)
    name = Incidents(made.registry).report(Incident("ann", "trades nonsense", now))
    _leave_half_done(made, digest, gold, name, now)
    said = made.watch()
    wait_for(lambda: "rolled back" in said.read_text(), said)
    time.sleep(1.0)
    assert made.running[-1].poll() is None, said.read_text()
    assert said.read_text().count("rolled back") == 1
    (way,) = made.json("rollback", "list")
    assert (way["failed_model"], way["target_model"]) == (digest, gold)
    assert not Incidents(made.registry).open()


def _leave_half_done(site: Site, digest, gold, incident, now):
    from stairways.live.rollback import RollbackOrder, RollbackOutcome, StepOutcome, journal_record

    with Registry.open(site.registry, lambda: now) as registry:
        order = RollbackOrder("person", "trades nonsense", "ann", digest, gold, now, incident=incident)
        steps = tuple(
            StepOutcome(step, "done", "", 0.1, now.isoformat()) for step in ("latch", "snapshot", "swap")
        )
        registry.store.latch("rollback-1", "trades nonsense")
        registry.store.quarantine(digest, "trades nonsense")
        registry.store.swap(gold)
        outcome = RollbackOutcome("rollback-1", order, steps, now, 0.1)
        registry.journal.write("rollback-1", journal_record(outcome))


def test_a_watch_that_finds_nothing_to_go_back_to_stops_the_service_pages_and_goes_on(site):
    made, gold, digest = site
    service = made.serve()
    said = made.watch()
    shutil.rmtree(made.registry / "artifacts" / gold)
    Incidents(made.registry).report(Incident("ann", "trades nonsense", _now()))
    wait_for(lambda: "the service is stopped" in said.read_text(), said)
    pages = (made.folder / "paging/pages.jsonl").read_text()
    assert f"NOT rolled back from {digest[:12]}" in pages
    wait_for(lambda: not (made.registry / "service/service.json").exists(), service)
    assert made.running[-1].poll() is None
    (way,) = made.json("rollback", "list")
    assert (way["failed_model"], way["target_model"]) == (digest, None)


def test_the_way_back_from_the_only_gold_stops_the_service(site):
    made, gold, digest = site
    made.run("rollback", "now", "--from", digest, "--reason", "trades nonsense")
    service = made.serve()
    # the watch may have been quicker than whoever says this: what it led to is not meant
    complaint = made.run("rollback", "now", "--reason", "trades nonsense", status=2).complaint
    assert f"a rollback has led to {gold[:12]}, and nobody resumed since" in complaint
    assert made.answers() == gold
    wrong = made.run("rollback", "now", "--from", digest, "--reason", "x", status=2).complaint
    assert f"{gold[:12]} is live, not" in wrong
    said = made.run("rollback", "now", "--from", "gold", "--reason", "gold too", status=3).out
    assert f"NOT rolled back from {gold[:12]} (" in said
    assert "nothing verifies that could be gone back to" in said
    wait_for(lambda: not (made.registry / "service/service.json").exists(), service)


def _now():
    return dt.datetime.now(dt.UTC)
