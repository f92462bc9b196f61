"""Whatever fails and whoever dies in between: pages of an incident arrive in order, and none is lost."""

import json
import tempfile
from itertools import groupby
from pathlib import Path

import httpx2
from hypothesis import given, settings
from hypothesis import strategies as st

from pages import a_page, a_pager, a_spool
from stairways.errors import PagingError


class KilledError(BaseException):
    """Stands for the end of the process: nothing of ours may catch it."""


FATES = ("accept", "fail", "lose", "garble", "die_before", "die_after")
steps = st.lists(
    st.tuples(st.sampled_from(["a", "b", "flush"]), st.lists(st.sampled_from(FATES), max_size=5)),
    max_size=14,
)


def answer(status, content):
    return httpx2.Response(status, stream=httpx2.ByteStream(content))


class Wire(httpx2.AsyncBaseTransport):
    """Carries pages to a list, as its fates have it; accepts when they are used up."""

    def __init__(self):
        self.fates, self.arrived = [], []

    async def handle_async_request(self, request):
        event = json.loads(request.content)
        fate = self.fates.pop(0) if self.fates else "accept"
        if fate == "die_before":
            raise KilledError
        if fate == "fail":
            return answer(500, b"")
        if fate == "garble":
            return answer(202, b"<html>")
        self.arrived.append((event["dedup_key"], event["payload"]["custom_details"]["number"]))
        if fate == "lose":
            raise httpx2.ReadTimeout("lost")
        if fate == "die_after":
            raise KilledError
        return answer(202, b'{"status": "success"}')


def run(script, folder, max_pages=1_000):
    """Play a script; return what was given to the pager, what it gave back, and what arrived."""
    spool = a_spool(folder / "spool", max_pages=max_pages)
    wire, given_pages, unkept = Wire(), [], set()
    number = 0
    for what, fates in script:
        wire.fates = list(fates)
        # A new pager each time: nothing may live in the memory of a process that can die.
        pager = a_pager("http://127.0.0.1:1", spool, transport=wire, attempts=2)
        try:
            if what == "flush":
                pager.flush()
            else:
                number += 1
                given_pages.append((what, number))
                pager.send(a_page(what, number=number))
        except KilledError:
            pass
        except PagingError:
            unkept.add((what, number))
    wire.fates = []
    report = a_pager("http://127.0.0.1:1", spool, transport=wire).flush()
    assert report.clean
    assert spool.entries() == []
    return given_pages, unkept, wire.arrived


def of(key, pages):
    return [number for name, number in pages if name == key]


@settings(max_examples=60)
@given(steps)
def test_every_page_arrives_in_order(script):
    with tempfile.TemporaryDirectory() as folder:
        sent, unkept, arrived = run(script, Path(folder))
    assert not unkept
    for key in "ab":
        once = [number for number, _ in groupby(of(key, arrived))]
        assert once == of(key, sent)


@settings(max_examples=40)
@given(steps, st.integers(1, 3))
def test_with_little_room_a_page_is_lost_only_with_an_error_and_order_holds(script, max_pages):
    with tempfile.TemporaryDirectory() as folder:
        sent, unkept, arrived = run(script, Path(folder), max_pages)
    killed = any(fate.startswith("die") for _, fates in script for fate in fates)
    for key in "ab":
        once = [number for number, _ in groupby(of(key, arrived))]
        # Twice in a row is the same page again; later again would be another's overtaking.
        assert once == sorted(set(once))
        missing = set(of(key, sent)) - set(once)
        # A page that was not kept dies with its process; everything else is told.
        assert missing <= set(of(key, unkept)) or killed
