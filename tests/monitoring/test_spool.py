import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time

import pytest

from pages import NOON, a_page, a_pager, a_spool, config_file, spooled
from receivers import SUCCESS, hang, later, running_receiver, say, slowly
from stairways.errors import PagingError, StorageError
from stairways.monitoring.spool import DamagedPageError, incident_digest

SENDING = """
import sys, datetime as dt
from pathlib import Path
from stairways.config import load_settings
from stairways.monitoring.paging import pager_of
from stairways.monitoring.page import Page
pager = pager_of(load_settings(Path(sys.argv[1]), {}).paging, {})
what, key, action, count = sys.argv[2:6]
if what == "flush":
    print(pager.flush().as_record())
for number in range(int(count)):
    at = dt.datetime(2026, 3, 2, 12, 0, number, tzinfo=dt.UTC)
    pager.send(Page(summary="x", severity="error", source="s", component="c", dedup_key=key, occurred_at=at,
                    action=action))
"""


def another_process(config, what="send", key="a", action="trigger", count=1):
    words = [sys.executable, "-c", SENDING, str(config), what, key, action, str(count)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(process):
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out


class TestPut:
    def test_names_sort_by_time_and_tell_the_incident(self, spool):
        late = spool.put(a_page("a", at=NOON.replace(hour=13)), 1)
        early = spool.put(a_page("b"), 1)
        assert spool.entries() == [late, early]
        assert early.stamp == late.stamp + 1
        assert late.stamp == 1_772_456_400_000_000
        assert late.incident == incident_digest("a") != early.incident
        assert spool.peek(late) == a_page("a", at=NOON.replace(hour=13))

    def test_only_the_owner_has_rights(self, spool):
        before = os.umask(0)
        try:
            entry = spool.put(a_page(), 1)
        finally:
            os.umask(before)
        assert stat.S_IMODE(spool.folder.stat().st_mode) == 0o700
        files = list(spool.folder.iterdir())
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        assert {file.name for file in files} == {entry.name, ".lock"}

    @pytest.mark.parametrize("rights", [0o755, 0o750, 0o701, 0o777])
    def test_a_folder_that_others_can_enter_is_refused(self, spool, rights):
        spool.folder.mkdir(parents=True)
        spool.folder.chmod(rights)
        with pytest.raises(StorageError, match="others have rights on the spool"):
            spool.put(a_page(), 1)

    def test_the_count_is_bounded_and_what_is_set_aside_counts(self, tmp_path):
        spool = a_spool(tmp_path / "spool", max_pages=2)
        first = spool.put(a_page("a"), 1)
        with spool.claim(first) as claim:
            claim.set_aside("refused")
        spool.put(a_page("b"), 1)
        with pytest.raises(PagingError, match="the spool is full: 2 pages of 2"):
            spool.put(a_page("c"), 1)
        assert spooled(spool) == [("b", "trigger")]

    def test_the_bytes_are_bounded(self, tmp_path):
        spool = a_spool(tmp_path / "spool", max_bytes=3_000)
        spool.put(a_page("a"), 1)
        with pytest.raises(PagingError, match=r"\d+ bytes and \d+ more of 3000"):
            spool.put(a_page("b", details={"x": "y" * 2_500}), 1)
        assert spooled(spool) == [("a", "trigger")]

    def test_a_stopped_process_that_holds_the_lock_holds_nobody_up_for_long(self, spool):
        spool.prepare()
        with (
            spool._locked(1),
            pytest.raises(PagingError, match=r"another process has held the spool for 0.05 s"),
        ):
            spool.put(a_page(), 0.05)
        spool.put(a_page(), 0.05)

    def test_a_full_disk_is_an_error_of_ours_and_leaves_nothing(self, spool, monkeypatch):
        def full(*_):
            raise OSError(28, "No space left on device")

        spool.prepare()
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="No space left"):
            spool.put(a_page(), 1)
        assert spool.entries() == []


class TestClaim:
    def test_two_can_t_hold_one_page(self, spool):
        entry = spool.put(a_page(), 1)
        with spool.claim(entry) as first, spool.claim(entry) as second:
            assert first is not None
            assert second is None
        with spool.claim(entry) as again:
            assert again.read() == a_page()

    def test_what_is_gone_can_t_be_held(self, spool):
        entry = spool.put(a_page(), 1)
        with spool.claim(entry) as claim:
            claim.remove()
        with spool.claim(entry) as claim:
            assert claim is None
        assert spool.peek(entry) is None

    def test_a_page_that_was_sent_between_opening_and_locking_is_not_held(self, spool, monkeypatch):
        entry = spool.put(a_page(), 1)
        kept = spool._lock_file

        def lock_later(given, descriptor):
            (spool.folder / given.name).unlink()
            return kept(given, descriptor)

        monkeypatch.setattr(spool, "_lock_file", lock_later)
        with spool.claim(entry) as claim:
            assert claim is None


def change(text, old, new):
    assert old in text
    return text.replace(old, new)


class TestDamage:
    @pytest.mark.parametrize(
        ("spoil", "reason"),
        [
            (lambda text: "", "Expecting value"),
            (lambda text: text[: len(text) // 2], "Unterminated|Expecting|delimiter"),
            (lambda text: change(text, "page 0", "page 1"), "its digest does not match"),
            (lambda text: change(text, "stairways.page/1", "stairways.page/2"), "format 'stairways.page/2'"),
            (lambda text: "[]", "expected a JSON object"),
            (lambda text: "{}", "."),
            (lambda text: "\x00" * len(text), "Expecting value"),
            (lambda text: "x" * 4_000_001, "too many for a page"),
        ],
    )
    def test_it_is_set_aside_and_reported_and_holds_nothing_up(self, receiver, spool, spoil, reason):
        bad = spool.put(a_page("a"), 1)
        spool.put(a_page("a", "resolve"), 1)
        path = spool.folder / bad.name
        path.write_text(spoil(path.read_text()))
        with pytest.raises(DamagedPageError):
            spool.peek(bad)
        report = a_pager(receiver.url, spool).flush()
        assert [event["event_action"] for event in receiver.accepted] == ["resolve"]
        assert len(report.damaged) == 1
        assert re.search(reason, report.damaged[0])
        assert not report.clean
        assert spool.aside("damaged") == [bad.name]
        assert spool.entries() == []

    def test_a_page_under_the_name_of_another_incident_is_damaged(self, receiver, spool):
        a, b = spool.put(a_page("a"), 1), spool.put(a_page("b"), 1)
        (spool.folder / a.name).replace(spool.folder / b.name)
        report = a_pager(receiver.url, spool).flush()
        assert "belongs to another incident" in report.damaged[0]
        assert receiver.seen == []

    def test_what_is_no_page_is_set_aside_too_and_nothing_is_overwritten(self, receiver, spool):
        entry = spool.put(a_page("a"), 1)
        for _ in range(2):
            (spool.folder / "notes.txt").write_text("mine")
            a_pager(receiver.url, spool).flush()
        link = spool.folder / f"{'0' * 20}-{'a' * 16}-{'b' * 8}.json"
        link.symlink_to("/etc/hostname")
        report = a_pager(receiver.url, spool).flush()
        assert len(report.damaged) == 1
        aside = spool.aside("damaged")
        assert [name.split(".txt")[0] for name in aside if "notes" in name] == ["notes", "notes"]
        assert [event["dedup_key"] for event in receiver.accepted] == ["a"]
        assert not spool.holds(entry)

    def test_what_a_killed_writer_left_is_removed(self, receiver, spool):
        spool.prepare()
        left = spool.folder / f".{'0' * 20}-x.json.0123456789abcdef.tmp"
        left.write_text("half")
        assert a_pager(receiver.url, spool).flush().clean
        assert not left.exists()

    def test_damage_among_what_is_taken_along_is_told_by_the_new_page(self, receiver, spool):
        bad = spool.put(a_page("old"), 1)
        (spool.folder / bad.name).write_text("no")
        delivery = a_pager(receiver.url, spool).send(a_page("new"))
        assert delivery.outcome == "delivered"
        assert [note[:8] for note in delivery.notes] == ["damaged:"]


class TestFlush:
    def test_everything_goes_in_order(self, receiver, spool):
        names = [spool.put(a_page(key, action), 1).name for key in "ba" for action in ("trigger", "resolve")]
        report = a_pager(receiver.url, spool).flush()
        assert report.clean
        assert (report.left, report.reason, list(report.delivered)) == (0, "", names)
        assert [event["dedup_key"] for event in receiver.accepted] == ["b", "b", "a", "a"]
        assert json.dumps(report.as_record())

    def test_nothing_to_do(self, receiver, tmp_path):
        report = a_pager(receiver.url, a_spool(tmp_path / "none")).flush()
        assert report.clean
        assert not (tmp_path / "none").exists()

    def test_a_page_is_removed_only_after_the_word_of_success(self, receiver, spool):
        spool.put(a_page(), 1)
        held = []
        receiver.script = [
            lambda handler, event: (held.append(spooled(spool)), say(202, SUCCESS)(handler, event))
        ]
        assert a_pager(receiver.url, spool).flush().clean
        assert held == [[("a", "trigger")]]

    def test_a_receiver_that_is_away_is_asked_about_one_page_alone(self, receiver, spool):
        for key in "abc":
            spool.put(a_page(key), 1)
        receiver.script = [say(403)]
        report = a_pager(receiver.url, spool).flush()
        assert (len(receiver.seen), report.left) == (1, 3)
        assert "HTTP 403" in report.reason

    def test_one_page_that_the_receiver_stumbles_over_does_not_stop_the_others(self, receiver, spool):
        for key in "aab":
            spool.put(a_page(key), 1)
        receiver.script = [say(500)]
        report = a_pager(receiver.url, spool, attempts=1).flush()
        assert [event["dedup_key"] for event in receiver.seen] == ["a", "b"]
        assert (report.left, len(report.delivered)) == (2, 1)
        assert "HTTP 500" in report.reason

    def test_a_receiver_that_stumbles_over_everything_is_left_alone(self, receiver, spool):
        for key in "abcdef":
            spool.put(a_page(key), 1)
        receiver.script = [say(500)] * 6
        assert a_pager(receiver.url, spool, attempts=1).flush().left == 6
        assert len(receiver.seen) == 3

    def test_refused_pages_are_set_aside_and_told(self, receiver, spool):
        for key in "ab":
            spool.put(a_page(key), 1)
        receiver.script = [say(400, {"message": "no good"})]
        report = a_pager(receiver.url, spool).flush()
        assert (len(report.refused), report.left, len(report.delivered)) == (1, 0, 1)
        assert "no good" in report.refused[0]
        assert not report.clean

    def test_its_time_is_bounded(self, receiver, spool):
        for key in "abc":
            spool.put(a_page(key), 1)
        receiver.script = [hang] * 10
        started = time.monotonic()
        report = a_pager(receiver.url, spool, flush=0.3, read=60, budget=60).flush()
        assert report.left == 3
        assert time.monotonic() - started < 10

    def test_a_page_that_can_t_be_removed_is_sent_once_and_told(self, receiver, spool, monkeypatch):
        from stairways.monitoring.spool import Claim

        def stuck(self):
            raise StorageError("Read-only file system", where=self.entry.name)

        spool.put(a_page(), 1)
        monkeypatch.setattr(Claim, "remove", stuck)
        report = a_pager(receiver.url, spool).flush()
        assert len(receiver.seen) == 1
        assert (report.left, report.clean) == (1, False)
        assert "Read-only" in report.notes[0]


class TestProcesses:
    def test_a_page_survives_kill_9_in_the_middle_of_its_sending(self, tmp_path):
        with running_receiver() as receiver:
            started, go = threading.Event(), threading.Event()
            receiver.script = [later(hang, started, go)]
            process = another_process(config_file(tmp_path, receiver.url, budget_seconds=60, read_seconds=60))
            assert started.wait(60)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            go.set()
            spool = a_spool(tmp_path / "spool")
            assert spooled(spool) == [("a", "trigger")]
            assert a_pager(receiver.url, spool).flush().clean
            assert [event["dedup_key"] for event in receiver.accepted] == ["a"]

    def test_two_processes_that_flush_send_every_page_once_and_in_order(self, tmp_path):
        spool = a_spool(tmp_path / "spool")
        for number in range(6):
            for key in "abc":
                spool.put(a_page(key, number=number), 1)
        with running_receiver() as receiver:
            config = config_file(tmp_path, receiver.url)
            receiver.script = [slowly(say(202, SUCCESS), 0.03)] * 18
            processes = [another_process(config, "flush", count=0) for _ in range(3)]
            while any(process.poll() is None for process in processes):
                time.sleep(0.05)
            for process in processes:
                finished(process)
            a_pager(receiver.url, spool).flush()
            for key in "abc":
                numbers = [
                    event["payload"]["custom_details"]["number"]
                    for event in receiver.seen
                    if event["dedup_key"] == key
                ]
                assert numbers == list(range(6))
        assert spool.entries() == []

    def test_pages_of_many_processes_all_arrive(self, tmp_path):
        with running_receiver() as receiver:
            config = config_file(tmp_path, receiver.url)
            receiver.script = [say(500)] * 3
            processes = [another_process(config, key=key, count=5) for key in "aab"]
            for process in processes:
                finished(process)
            a_pager(receiver.url, a_spool(tmp_path / "spool")).flush()
            keys = [event["dedup_key"] for event in receiver.accepted]
            assert (keys.count("a"), keys.count("b")) == (10, 5)
