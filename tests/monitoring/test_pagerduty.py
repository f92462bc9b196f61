"""One page and a receiver on this machine that answers in every way a receiver can."""

import asyncio
import json
import logging
import socket
import threading
import time

import pytest

from pages import KEY, a_page, a_pager, a_spool, spooled
from receivers import (
    SUCCESS,
    accept_then_hang,
    drip,
    endless,
    garbage,
    hang,
    later,
    reset,
    say,
)
from stairways.errors import PagingError, StairwaysError
from stairways.monitoring.pager import ThresholdPager
from stairways.monitoring.pagerduty import GRACE_SECONDS

SLACK_SECONDS = 10.0
"""What a loaded machine may take beyond a budget before a test calls it broken."""


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


class TestDelivered:
    def test_one_post_to_the_right_place(self, receiver, spool):
        delivery = a_pager(receiver.url, spool).send(a_page())
        assert receiver.paths == ["/v2/enqueue"]
        assert [event["dedup_key"] for event in receiver.accepted] == ["a"]
        assert (delivery.outcome, delivery.attempts, delivery.status) == ("delivered", 1, 202)
        assert (delivery.dedup_key, delivery.reason, delivery.notes) == ("a", "", ())
        assert spool.entries() == []
        assert json.dumps(delivery.as_record())

    @pytest.mark.parametrize(
        "answer",
        [
            say(500),
            say(503, {"status": "x"}),
            say(429),
            say(429, headers={"Retry-After": "0"}),
            say(200, SUCCESS),
            say(202, {"status": "invalid"}),
            say(200, b"<html>log in to the hotel"),
            say(202, b"\xff\x00"),
            say(202),
            say(202, [SUCCESS]),
            reset,
            garbage,
        ],
    )
    def test_what_may_pass_is_tried_again(self, receiver, spool, answer):
        receiver.script = [answer, answer]
        delivery = a_pager(receiver.url, spool).send(a_page())
        assert (delivery.outcome, delivery.attempts) == ("delivered", 3)
        assert len(receiver.seen) == 3
        assert spool.entries() == []

    def test_a_read_timeout_is_tried_again_and_the_lost_answer_does_no_harm(self, receiver, spool):
        receiver.script = [accept_then_hang]
        delivery = a_pager(receiver.url, spool, read=0.2, budget=30).send(a_page())
        assert (delivery.outcome, delivery.attempts) == ("delivered", 2)
        assert [event["dedup_key"] for event in receiver.accepted] == ["a", "a"]

    def test_retry_after_counts_instead_of_our_own_wait(self, receiver, spool):
        receiver.script = [say(429, headers={"Retry-After": "1"})]
        started = time.monotonic()
        delivery = a_pager(receiver.url, spool, budget=30).send(a_page())
        assert (delivery.outcome, delivery.attempts) == ("delivered", 2)
        assert time.monotonic() - started >= 1.0

    def test_it_can_be_called_inside_a_running_event_loop(self, receiver, spool):
        async def send():
            return a_pager(receiver.url, spool).send(a_page())

        assert asyncio.run(send()).outcome == "delivered"


class TestSpooled:
    @pytest.mark.parametrize(
        ("answer", "status"),
        [(say(500), 500), (say(429), 429), (reset, None), (garbage, None), (say(204), 204)],
    )
    def test_attempts_are_bounded_and_the_page_waits(self, receiver, spool, answer, status):
        receiver.script = [answer] * 3
        delivery = a_pager(receiver.url, spool).send(a_page())
        assert (delivery.outcome, delivery.attempts, delivery.status) == ("spooled", 3, status)
        assert delivery.reason
        assert receiver.accepted == []
        assert spooled(spool) == [("a", "trigger")]

    def test_nobody_listens(self, spool):
        delivery = a_pager(closed_port(), spool).send(a_page())
        assert (delivery.outcome, delivery.attempts, delivery.status) == ("spooled", 3, None)
        assert "Connect" in delivery.reason

    @pytest.mark.parametrize("answer", [hang, drip, endless])
    def test_the_budget_holds_whatever_the_receiver_does(self, receiver, spool, answer):
        receiver.script = [answer] * 100
        started = time.monotonic()
        delivery = a_pager(receiver.url, spool, budget=0.5, attempts=100, read=30.0).send(a_page())
        assert time.monotonic() - started < 0.5 + GRACE_SECONDS + SLACK_SECONDS
        assert delivery.outcome == "spooled"
        assert spooled(spool) == [("a", "trigger")]

    def test_the_budget_holds_while_names_are_not_resolved(self, spool, monkeypatch):
        released = threading.Event()

        def silent_resolver(*_, **__):
            released.wait(60)
            raise OSError("nobody answers")

        monkeypatch.setattr(socket, "getaddrinfo", silent_resolver)
        started = time.monotonic()
        delivery = a_pager("https://pages.invalid", spool, budget=0.5, attempts=1).send(a_page())
        released.set()
        assert time.monotonic() - started < 0.5 + GRACE_SECONDS + SLACK_SECONDS
        assert delivery.outcome == "spooled"

    def test_a_retry_after_beyond_the_budget_is_not_waited_for(self, receiver, spool):
        receiver.script = [say(429, headers={"Retry-After": "3600"})]
        started = time.monotonic()
        delivery = a_pager(receiver.url, spool, budget=60).send(a_page())
        assert time.monotonic() - started < SLACK_SECONDS
        assert (delivery.outcome, delivery.attempts, delivery.status) == ("spooled", 1, 429)

    @pytest.mark.parametrize("status", [301, 302, 307, 308, 401, 403, 404, 405, 407])
    def test_a_wrong_place_is_not_asked_again_and_the_page_waits(self, receiver, spool, status):
        receiver.script = [say(status, headers={"Location": f"{receiver.url}/elsewhere"})]
        delivery = a_pager(receiver.url, spool).send(a_page())
        assert (delivery.outcome, delivery.attempts, delivery.status) == ("spooled", 1, status)
        assert receiver.paths == ["/v2/enqueue"]
        assert "paging.base_url" in delivery.reason

    def test_a_wrong_routing_key_is_no_fault_of_the_page(self, receiver, spool):
        words = "Length of 'routing_key' is incorrect (should be 32 characters)"
        receiver.script = [say(400, {"status": "invalid event", "message": "invalid", "errors": [words]})]
        delivery = a_pager(receiver.url, spool).send(a_page())
        assert (delivery.outcome, delivery.attempts) == ("spooled", 1)
        assert words in delivery.reason
        assert spooled(spool) == [("a", "trigger")]


class TestRefused:
    @pytest.mark.parametrize("status", [400, 413, 422])
    def test_it_is_not_sent_again_and_kept_for_people(self, receiver, spool, status):
        receiver.script = [say(status, {"status": "invalid event", "errors": ["'payload.severity' is odd"]})]
        with pytest.raises(PagingError, match=r"refused: HTTP \d+ invalid event, 'payload.severity' is odd"):
            a_pager(receiver.url, spool).send(a_page())
        assert len(receiver.seen) == 1
        assert spool.entries() == []
        assert len(spool.aside("refused")) == 1

    def test_the_next_page_of_the_incident_goes_out(self, receiver, spool):
        receiver.script = [say(500)] * 3 + [say(400)]
        pager = a_pager(receiver.url, spool)
        assert pager.send(a_page()).outcome == "spooled"
        delivery = pager.send(a_page(action="resolve"))
        assert delivery.outcome == "delivered"
        assert [note[:8] for note in delivery.notes] == ["refused:"]


class TestUnkept:
    def test_a_full_spool_does_not_stop_a_page_that_can_be_delivered(self, receiver, tmp_path):
        spool = a_spool(tmp_path / "spool", max_pages=1)
        spool.put(a_page("old"), 1)
        delivery = a_pager(receiver.url, spool, drain=0).send(a_page())
        assert delivery.outcome == "delivered"
        assert [event["dedup_key"] for event in receiver.accepted] == ["a"]
        assert "the spool is full: 1 pages of 1" in delivery.notes[0]

    def test_neither_delivered_nor_kept_is_loud(self, receiver, tmp_path):
        spool = a_spool(tmp_path / "spool", max_pages=1)
        spool.put(a_page("old"), 1)
        receiver.script = [say(500)] * 3
        with pytest.raises(
            PagingError, match=r"neither delivered \(HTTP 500.*nor kept \(.*the spool is full"
        ):
            a_pager(receiver.url, spool).send(a_page())

    def test_a_spool_that_can_t_be_written_does_not_stop_a_page(self, receiver, tmp_path):
        (tmp_path / "file").write_text("")
        delivery = a_pager(receiver.url, a_spool(tmp_path / "file" / "spool")).send(a_page())
        assert delivery.outcome == "delivered"
        assert delivery.notes

    def test_even_unkept_a_resolve_does_not_overtake(self, receiver, tmp_path):
        spool = a_spool(tmp_path / "spool", max_pages=1)
        spool.put(a_page("a"), 1)
        receiver.script = [say(500)] * 3
        pager = a_pager(receiver.url, spool)
        with pytest.raises(PagingError, match="an earlier page of this incident goes first"):
            pager.send(a_page("a", "resolve"))
        assert pager.send(a_page("a", "resolve")).outcome == "delivered"
        assert [event["event_action"] for event in receiver.accepted] == ["trigger", "resolve"]


class TestSecrecy:
    def echo(self, handler, event):
        say(403, {"message": f"bad key {event['routing_key']}\x1b[31m"})(handler, event)

    def test_the_key_is_in_no_log_no_file_and_no_answer(self, receiver, spool, tmp_path, caplog, capfd):
        caplog.set_level(logging.DEBUG)
        receiver.script = [self.echo, say(500), reset, garbage, hang, self.echo]
        pager = a_pager(receiver.url, spool, read=0.2)
        deliveries = [pager.send(a_page(str(n))) for n in range(3)]
        assert {delivery.outcome for delivery in deliveries} <= {"spooled", "delivered"}
        assert "[routing key]" in deliveries[0].reason
        assert "\x1b" not in deliveries[0].reason
        told = caplog.text + repr(deliveries) + repr(pager) + "".join(capfd.readouterr())
        told += "".join(repr(vars(record)) for record in caplog.records)
        files = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
        assert KEY not in told
        assert files
        assert KEY not in "".join(files)
        assert all(event["routing_key"] == KEY for event in receiver.seen)

    def test_no_error_carries_it(self, receiver, spool):
        receiver.script = [lambda handler, event: say(400, {"message": event["routing_key"]})(handler, event)]
        with pytest.raises(PagingError) as caught:
            a_pager(receiver.url, spool).send(a_page())
        error: BaseException | None = caught.value
        seen = []
        while error is not None:
            seen.append(repr(error) + repr(vars(error)))
            error = error.__cause__ or error.__context__
        assert KEY not in "".join(seen)


class TestOrder:
    def test_a_resolve_waits_behind_its_trigger(self, receiver, spool):
        receiver.script = [say(500)] * 6
        pager = a_pager(receiver.url, spool)
        assert pager.send(a_page("a")).outcome == "spooled"
        delivery = pager.send(a_page("a", "resolve"))
        assert delivery.outcome == "spooled"
        assert "an earlier page of this incident goes first" in delivery.reason
        assert {event["event_action"] for event in receiver.seen} == {"trigger"}
        assert pager.flush().clean
        assert [event["event_action"] for event in receiver.accepted] == ["trigger", "resolve"]

    def test_a_clock_that_goes_back_changes_no_order(self, receiver, spool):
        receiver.script = [say(500)] * 6
        pager = a_pager(receiver.url, spool)
        page = a_page("a")
        pager.send(page)
        pager.send(a_page("a", "resolve", at=page.occurred_at.replace(year=2001)))
        assert pager.flush().clean
        assert [event["event_action"] for event in receiver.accepted] == ["trigger", "resolve"]

    def test_a_new_page_goes_before_what_waited_and_takes_it_along(self, receiver, spool):
        for n in range(3):
            spool.put(a_page(f"old-{n}"), 1)
        delivery = a_pager(receiver.url, spool, drain=5).send(a_page("new"))
        assert delivery.outcome == "delivered"
        assert [event["dedup_key"] for event in receiver.accepted] == ["new", "old-0", "old-1", "old-2"]
        assert spool.entries() == []

    def test_what_waits_takes_no_more_than_its_share_of_the_time(self, receiver, spool):
        spool.put(a_page("old"), 1)
        receiver.script = [say(202, SUCCESS), hang]
        started = time.monotonic()
        delivery = a_pager(receiver.url, spool, budget=300, drain=0.3, read=300, attempts=1).send(
            a_page("new")
        )
        assert delivery.outcome == "delivered"
        assert time.monotonic() - started < 0.3 + SLACK_SECONDS
        assert spooled(spool) == [("old", "trigger")]

    def test_nothing_is_taken_along_where_the_settings_say_so(self, receiver, spool):
        spool.put(a_page("old"), 1)
        a_pager(receiver.url, spool, drain=0).send(a_page("new"))
        assert spooled(spool) == [("old", "trigger")]


class TestTwoAtOnce:
    def test_a_sender_waits_for_the_page_before_its_own_that_another_is_sending(self, receiver, spool):
        started, go = threading.Event(), threading.Event()
        spool.put(a_page("a"), 1)
        receiver.script = [later(say(202, SUCCESS), started, go)]
        results = []
        flusher = threading.Thread(
            target=lambda: results.append(a_pager(receiver.url, spool, read=20).flush())
        )
        flusher.start()
        assert started.wait(10)
        sender = threading.Thread(
            target=lambda: results.append(
                a_pager(receiver.url, spool, budget=20).send(a_page("a", "resolve"))
            )
        )
        sender.start()
        other = a_pager(receiver.url, spool, drain=0).send(a_page("b"))
        assert other.outcome == "delivered"
        go.set()
        flusher.join()
        sender.join()
        assert [event["event_action"] for event in receiver.seen] == ["trigger", "trigger", "resolve"]
        assert [event["dedup_key"] for event in receiver.seen] == ["a", "b", "a"]

    def test_a_sender_gives_up_at_the_end_of_its_budget(self, receiver, spool):
        first = spool.put(a_page("a"), 1)
        with spool.claim(first):
            delivery = a_pager(receiver.url, spool, budget=0.3).send(a_page("a", "resolve"))
        assert delivery.outcome == "spooled"
        assert "another process" in delivery.reason
        assert receiver.seen == []


class TestThreshold:
    @pytest.mark.parametrize(
        ("severity", "action", "outcome"),
        [
            ("info", "trigger", "withheld"),
            ("warning", "trigger", "withheld"),
            ("error", "trigger", "delivered"),
            ("critical", "trigger", "delivered"),
            ("info", "resolve", "delivered"),
            ("info", "acknowledge", "delivered"),
        ],
    )
    def test_less_severe_triggers_are_withheld(self, receiver, spool, severity, action, outcome):
        pager = ThresholdPager(a_pager(receiver.url, spool), "error")
        delivery = pager.send(a_page(severity=severity, action=action))
        assert delivery.outcome == outcome
        assert len(receiver.seen) == (outcome == "delivered")
        assert spool.entries() == []


def test_a_disk_that_hangs_does_not_hold_up_a_rollback(receiver, spool, monkeypatch):
    released = threading.Event()
    monkeypatch.setattr(spool, "put", lambda *_: released.wait(60))
    started = time.monotonic()
    with pytest.raises(StairwaysError, match="what became of the page is unknown"):
        a_pager(receiver.url, spool, budget=0.2).send(a_page())
    released.set()
    assert time.monotonic() - started < 0.2 + GRACE_SECONDS + SLACK_SECONDS
