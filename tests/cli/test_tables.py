"""Tables of the commands on a registry: 80 columns, nothing cut, nothing that steers the terminal."""

from __future__ import annotations

import datetime as dt

from stairways.cli.tables import record, table, text_of

AT = dt.datetime(2026, 7, 1, 12, 30, 15, 123456, tzinfo=dt.timezone(dt.timedelta(hours=2)))
DIGEST = "0123456789abcdef" * 4


def test_values_are_shown_as_people_read_them():
    shown = {
        None: "-",
        "": "-",
        True: "yes",
        0.123456: "0.1235",
        AT: "2026-07-01 10:30:15Z",
        DIGEST: "0123456789ab",
        DIGEST[:-1]: DIGEST[:-1],
        "red\x1b[31m\nline": "red [31m line",
    }
    assert {value: text_of(value) for value in shown} == shown
    assert text_of({"stage_to": "gold", "at": AT}) == "at: 2026-07-01 10:30:15Z; stage to: gold"
    assert text_of([]) == "none"
    assert text_of(["a", 1]) == "a, 1"


def test_the_last_column_is_wrapped_and_never_cut():
    reason = "word " * 40
    lines = table(
        [{"name": "signature", "passed": True, "reason": reason}], ("name", "passed"), 80, wide="reason"
    )
    assert lines[0] == "name       passed  reason"
    assert max(map(len, lines)) <= 80
    assert " ".join(" ".join(lines[1:]).split()) == f"signature yes {reason.strip()}"


def test_what_is_long_stands_below_its_row_and_only_where_there_is_some():
    rows = [{"seq": 1, "details": {"reason": "first"}}, {"seq": 2, "details": {}}]
    assert table(rows, ("seq",), 80, below="details") == ["seq", "1", "    reason: first", "2"]


def test_the_longest_rollback_fits_a_terminal():
    row = {
        "detected_at": AT,
        "trigger": "controller_alerts",
        "failed_model": DIGEST,
        "target_model": DIGEST,
        "seconds_to_serving": 123.456,
        "reason": "more than three alerts " * 10,
    }
    columns = ("detected_at", "trigger", "failed_model", "target_model", "seconds_to_serving")
    assert max(map(len, table([row], columns, 80, below="reason"))) <= 80


def test_a_record_has_a_line_for_each_value_and_each_entry_of_a_list():
    lines = record({"model": DIGEST, "verdicts": ["a passed", "b FAILED"], "waivers": []}, 80)
    assert lines == ["model     0123456789ab", "verdicts  a passed", "          b FAILED", "waivers   -"]


def test_a_terminal_that_is_narrow_gets_longer_lines_rather_than_a_column_of_letters():
    lines = table([{"name": "n" * 30, "reason": "word " * 20}], ("name",), 40, wide="reason")
    assert max(map(len, lines)) == 32 + 39
