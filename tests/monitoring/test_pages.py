import datetime as dt
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pages import KEY, NOON, a_page
from stairways.monitoring.events_api import event_bytes
from stairways.monitoring.page import (
    CUT,
    MAX_DETAILS_BYTES,
    MAX_EVENT_BYTES,
    Link,
    Page,
    incident_key,
    json_form,
)
from stairways.monitoring.routing_key import RoutingKey

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


class TestBounds:
    def test_a_summary_of_1024_characters_stands_and_one_more_is_cut_and_marked(self):
        assert a_page(summary="x" * 1_024).summary == "x" * 1_024
        longer = a_page(summary="x" * 1_025).summary
        assert len(longer) == 1_024
        assert longer.endswith("x" + CUT)

    @pytest.mark.parametrize("name", ["source", "component"])
    def test_other_fields_are_cut_at_255(self, name):
        assert len(getattr(a_page(**{name: "y" * 300}), name)) == 255

    def test_a_key_is_never_cut_for_two_incidents_would_become_one(self):
        assert a_page(key="k" * 255).dedup_key == "k" * 255
        with pytest.raises(ValidationError):
            a_page(key="k" * 256)

    @pytest.mark.parametrize("name", ["summary", "source", "component", "dedup_key"])
    def test_an_empty_text_is_refused(self, name):
        with pytest.raises(ValidationError):
            a_page(**{"key": "a", name: "  "}) if name != "dedup_key" else a_page(key="  ")

    def test_large_details_are_cut_and_say_so(self):
        page = a_page(details={"log": "é" * MAX_DETAILS_BYTES})
        assert page.details["cut"] == f"details of {2 * MAX_DETAILS_BYTES + len('{}:') + 7} bytes were cut"
        assert page.details["head"].startswith('{"log":"éé')
        assert page.details["head"].endswith(CUT)

    def test_the_eleventh_link_is_cut_and_counted(self):
        links = tuple(Link(href=f"https://here/{n}", text=f"t{n}") for n in range(13))
        assert a_page(links=links[:10]).links == links[:10]
        cut = a_page(links=links).links
        assert len(cut) == 10
        assert cut[9].text == "t9 [3 more links cut]"

    @pytest.mark.parametrize(
        "href", ["javascript:alert(1)", "https://a b", "https://é", "/x", "https://" + "x" * 1_000]
    )
    def test_a_link_leads_to_the_web(self, href):
        with pytest.raises(ValidationError):
            Link(href=href)

    @pytest.mark.parametrize("worst", ["\x01", '"', "\\", "é", "😀", "x"])
    def test_the_largest_page_stays_under_512_kilobytes(self, worst):
        texts = dict.fromkeys(("summary", "source", "component"), worst * 2000)
        links = tuple(Link(href="https://" + "x" * 990, text=worst * 300) for _ in range(20))
        room = a_page(**texts, details={"a": worst * 500_000}, links=links, key=worst * 255)
        full = a_page(**texts, details={"a": "x" * (MAX_DETAILS_BYTES - 8)}, links=links, key=worst * 255)
        for page in (room, full):
            assert len(event_bytes(page, RoutingKey("k" * 128))) <= MAX_EVENT_BYTES

    def test_a_page_is_frozen_and_refuses_what_it_does_not_know(self):
        with pytest.raises(ValidationError):
            a_page().summary = "other"
        with pytest.raises(ValidationError):
            a_page(colour="red")
        with pytest.raises(ValidationError):
            a_page(severity="fatal")


class TestTime:
    def test_a_naive_time_is_refused(self):
        with pytest.raises(ValidationError):
            a_page(at=dt.datetime(2026, 3, 2))

    def test_other_zones_become_utc(self):
        east = NOON.astimezone(dt.timezone(dt.timedelta(hours=9)))
        page = a_page(at=east)
        assert page.occurred_at == NOON
        assert page.occurred_at.tzinfo is dt.UTC
        assert (
            json.loads(event_bytes(page, RoutingKey(KEY)))["payload"]["timestamp"]
            == "2026-03-02T12:00:00.000+00:00"
        )


class TestDetails:
    def test_what_has_no_json_form_becomes_text(self):
        form = json_form(
            {
                "nan": math.nan,
                "inf": -math.inf,
                "np": np.float32(0.5),
                "count": np.int64(3),
                "path": ValueError("no"),
                "huge": 10**5_000,
                1: {"b", "a"},
                "lone": "\ud800",
            }
        )
        assert form == {
            "nan": "nan",
            "inf": "-inf",
            "np": 0.5,
            "count": 3,
            "path": "no",
            "huge": "an integer of 16610 bits",
            "1": ["a", "b"],
            "lone": "?",
        }

    def test_a_bottomless_value_ends(self):
        deep: list = []
        deep.append(deep)
        assert CUT in json.dumps(json_form(deep))

    @given(st.dictionaries(st.text(max_size=8), anything, max_size=5), st.text(min_size=1))
    def test_any_details_and_summary_make_a_page_that_survives_the_disk(self, details, summary):
        page = a_page(details=details, summary=f"x{summary}")
        assert Page.from_record(json.loads(json.dumps(page.as_record()))) == page
        assert len(event_bytes(page, RoutingKey(KEY))) <= MAX_EVENT_BYTES


class TestIncidentKey:
    def test_it_comes_from_what_happened_alone(self):
        key = incident_key("rollback", "drift.exceeded", {"artifact": "ab", "session": "2026-03-02"})
        assert key == incident_key("rollback", "drift.exceeded", {"session": "2026-03-02", "artifact": "ab"})
        assert key == "rollback/drift.exceeded/94da308b692bf3be13fffc91d5e98c20"

    def test_each_part_makes_another_incident(self):
        keys = {
            incident_key(component, kind, subject)
            for component in ("a", "b")
            for kind in ("c", "d")
            for subject in ({"x": 1}, {"x": 2}, {"x": "1"}, None)
        }
        assert len(keys) == 16

    def test_it_always_fits(self):
        assert len(incident_key("a" * 64, "b" * 64, "s" * 10_000)) <= 255

    @pytest.mark.parametrize("component", ["", "A", "a/b", "a" * 65, "a b", "-a"])
    def test_components_and_kinds_are_plain_words(self, component):
        with pytest.raises(ValueError, match="component"):
            incident_key(component, "kind", None)
        with pytest.raises(ValueError, match="kind"):
            incident_key("component", component, None)


class TestEvent:
    def test_a_trigger_carries_everything(self):
        link = Link(href="https://here/run", text="the run")
        event = json.loads(event_bytes(a_page(links=(link,)), RoutingKey(KEY)))
        assert event == {
            "routing_key": KEY,
            "event_action": "trigger",
            "dedup_key": "a",
            "client": "stairways",
            "links": [{"href": "https://here/run", "text": "the run"}],
            "payload": {
                "summary": "page 0 of a",
                "severity": "critical",
                "source": "host",
                "component": "rollback",
                "timestamp": "2026-03-02T12:00:00.000+00:00",
                "custom_details": {"number": 0},
            },
        }

    @pytest.mark.parametrize("action", ["acknowledge", "resolve"])
    def test_the_others_name_the_incident_alone(self, action):
        event = json.loads(event_bytes(a_page(action=action), RoutingKey(KEY)))
        assert event == {"routing_key": KEY, "event_action": action, "dedup_key": "a"}
