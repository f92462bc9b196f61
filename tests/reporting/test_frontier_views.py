"""The frontier as table, words and picture."""

from __future__ import annotations

import csv
import io
import struct
from xml.etree import ElementTree

import pytest
from rich.console import Console

from stairways.reporting.frontier_picture import PICTURE_SIZE_POINTS, draw_frontier, frontier_csv, of_arm
from stairways.reporting.frontier_terminal import print_frontier, remarks
from stairways.reporting.rendering import svg_and_png


def row(arm, point, trades, net, **more):
    made = {
        "arm": arm, "set_point": point, "trades_per_session": trades, "hold_rate_ratio": 0.55,
        "reached": point is not None and abs(trades - point) <= 0.5, "net_bps": net,
        "net_low_bps": net - 1.0, "net_high_bps": net + 1.0, "gross_bps": net + 0.15 * trades,
        "costs_bps": 0.15 * trades, "sharpe": net / 2, "sharpe_standard_error": 0.7,
    }  # fmt: skip
    return made | more


@pytest.fixture
def record():
    rows = [
        row("untilted", None, 4.0, 1.0),
        row("tilt", 0.0, 0.8, 0.25),
        row("random", 0.0, 0.7, -0.1, net_low_bps=None, net_high_bps=None, sharpe=None),
        row("tilt", 16.5, 16.4, 6.25),
        row("random", 16.5, 16.3, -2.5),
        row("tuned", 16.5, 16.45, 6.5),
    ]
    data = {
        "synthetic": True, "symbols": ["NVDA", "MSFT"], "n_sessions": 500, "interval_minutes": 1,
        "sessions": "2018-03-16:2020-03-11", "n_calibrated_on": 240, "seen_sessions": 0, "test_sessions": 0,
    }  # fmt: skip
    return {
        "rows": rows, "data": data, "mode": "sampled", "hold_set_point_ratio": 0.55, "gate_bands": None,
    }  # fmt: skip


def said(record, tmp_path):
    stream = io.StringIO()
    print_frontier(Console(file=stream, width=80), record, tmp_path / "out")
    return stream.getvalue()


def test_the_table_fits_a_narrow_terminal(record, tmp_path):
    lines = said(record, tmp_path).splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("policy"))
    table = lines[first : first + 7]
    assert max(map(len, table)) <= 80
    words = [" ".join(line.split()) for line in table]
    assert words[2] == "tilt 0* 0.80 55.0% +0.25 [-0.75, +1.25] +0.37 0.12 0.12 ± 0.70"
    assert words[3] == "random 0* 0.70 55.0% -0.10 +0.00 0.10 -"
    assert table[6].startswith("tuned")


def test_the_gates_of_the_tunings_stand_before_the_table(record, tmp_path):
    assert "Gate of the tunings" not in said(record, tmp_path)
    bands = {"trades_band": [15.0, 18.25], "session_trades_band": [5, 25], "shadow_trades_band": [4, 26]}
    record["gate_bands"] = [{"set_point": 16.5, **bands}]
    lines = said(record, tmp_path).splitlines()
    first = lines.index(
        "Gate of the tunings: its bands of trades moved with the set point, their widths kept."
    )
    assert lines[first + 1] == "  at 16.5: mean 15 to 18.25; a session 5 to 25; in shadow 4 to 26"
    assert lines[first + 2].startswith("policy")


class TestRemarks:
    def test_what_was_not_reached_and_where_the_best_stands(self, record):
        words = " ".join(remarks(record))
        assert "not reached under the tilt: 0;" in words
        assert (
            "Highest net result under the tilt: at 16.4 trades. The best of 2 points flatters itself" in words
        )
        assert "seen" not in words

    def test_nothing_is_said_to_be_missed_where_nothing_was(self, record):
        record["rows"] = [r for r in record["rows"] if r["set_point"] != 0.0]
        assert "not reached" not in " ".join(remarks(record))

    def test_seen_and_test_sessions_are_named(self, record):
        record["data"] |= {"seen_sessions": 12, "test_sessions": 34}
        words = " ".join(remarks(record))
        assert "has seen 12 of these sessions" in words
        assert "34 of these sessions belong to the sample's test range" in words


def test_csv_holds_every_field(record):
    record["rows"][0]["extra"] = 1
    rows = list(csv.DictReader(io.StringIO(frontier_csv(record["rows"]))))
    assert [float(r["net_bps"]) for r in rows] == [r["net_bps"] for r in record["rows"]]
    assert [r["extra"] for r in rows] == ["1", "", "", "", "", ""]


def test_an_arm_is_ordered_by_trades(record):
    record["rows"].reverse()
    assert [r["set_point"] for r in of_arm(record["rows"], "tilt")] == [0.0, 16.5]


def test_the_picture_names_what_it_shows_and_repeats(record):
    made = svg_and_png("frontier", PICTURE_SIZE_POINTS, lambda figure: draw_frontier(figure, record))
    again = svg_and_png("frontier", PICTURE_SIZE_POINTS, lambda figure: draw_frontier(figure, record))
    assert made == again
    width, height = struct.unpack(">II", made["png"][16:24])
    assert (width, height) == tuple(2 * round(side) for side in PICTURE_SIZE_POINTS)
    root = ElementTree.fromstring(made["svg"])  # noqa: S314
    words = {"".join(node.itertext()).strip() for node in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"the policy under the tilt", "random at equal turnover", "tuned at each set point"} <= words
    assert {"no budget", "all-hold", "gross", "costs", "Annual net Sharpe ratio"} <= words
    assert any("SYNTHETIC market, 500 sessions" in word for word in words)
