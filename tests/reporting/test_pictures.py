import re
import struct
from itertools import pairwise
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from summaries import cycle, dates, fallen_back, series, summary

from stairways.reporting import pictures as drawn
from stairways.reporting.drawing import PALETTE
from stairways.reporting.pictures import all_pictures, readme_picture


@pytest.fixture(scope="module")
def pictures():
    return {picture.name: picture for picture in all_pictures(summary())}


def texts(svg: str) -> list[str]:
    """Return the words of a picture."""
    return ["".join(node.itertext()).strip() for node in ElementTree.fromstring(svg).iter("text")]  # noqa: S314


def test_every_picture_is_well_formed_or_says_why_not(pictures):
    assert list(pictures) == ["hold", "trades", "equity", "comparisons", "multipliers", "regime", "rewards"]
    for picture in pictures.values():
        assert bool(picture.svg) != bool(picture.missing)
        for svg in filter(None, (picture.svg, picture.narrow_svg)):
            assert ElementTree.fromstring(svg).get("role") == "img"  # noqa: S314


def test_pictures_carry_no_fixed_colour_and_no_outside_reference(pictures):
    for picture in pictures.values():
        assert "http" not in picture.svg
        bare = re.sub(r"var\(--p-[a-z-]+,#[0-9a-f]{6}\)", "", picture.svg)
        assert re.search(r"#[0-9a-f]{6}\b", re.sub(r'(href="|url\()#[^")]*', "", bare)) is None


def test_palette_has_no_colour_twice():
    for tone in (0, 1):
        colours = [pair[tone] for pair in PALETTE.values()]
        assert len(set(colours)) == len(colours)
        assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in colours)


def luminance(colour: str) -> float:
    """Return the relative luminance of WCAG 2.1."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("role", sorted(set(PALETTE) - {"grid", "paper"}))
@pytest.mark.parametrize("tone", [0, 1])
def test_colours_that_carry_words_stand_out(role, tone):
    paper, ink = sorted([luminance(PALETTE["paper"][tone]), luminance(PALETTE[role][tone])])
    assert (ink + 0.05) / (paper + 0.05) >= 3.9


def test_equity_names_each_policy_with_its_last_figure(pictures):
    given_series = summary()["series"]["test"]
    words = texts(pictures["equity"].svg)
    for name, values in given_series.items():
        shown = f"{100 * values['equity_ratio'][-1]:+.1f}%".replace("-", "\N{MINUS SIGN}")
        assert f"{name.replace('_', ' ')} {shown}" in words


def test_bands_are_labelled_with_their_bounds(pictures):
    assert "52 to 58" in " ".join(texts(pictures["hold"].svg))
    assert {"15 to 18", "5 to 25"} <= set(texts(pictures["trades"].svg))


def test_the_chosen_cycle_is_marked(pictures):
    assert texts(pictures["hold"].svg).count("chosen") == 1


def test_a_fallback_is_marked_as_the_least_bad():
    by_name = {picture.name: picture for picture in all_pictures(fallen_back())}
    assert texts(by_name["hold"].svg).count("least bad") == 1
    assert "chosen" not in texts(by_name["hold"].svg)


def test_drawing_leaves_matplotlib_as_it_was():
    with mpl.rc_context({"font.size": 31.0, "svg.hashsalt": "mine"}):
        before = dict(mpl.rcParams)
        other = all_pictures(summary())
        assert dict(mpl.rcParams) == before
    assert other == all_pictures(summary())


@pytest.mark.parametrize("n_sessions", [1, 2, 70, 600])
def test_any_number_of_sessions_is_drawn(n_sessions):
    made = summary(n_sessions=n_sessions, n_cycles=1)
    assert all(p.svg or p.name == "rewards" for p in all_pictures(made))


def test_many_cycles_are_drawn_with_few_names():
    made = summary(n_cycles=60)
    made["run"]["cycle"] = 31
    by_name = {picture.name: picture for picture in all_pictures(made)}
    names = [word for word in texts(by_name["hold"].svg) if word == "chosen"]
    assert names == ["chosen"]


def test_one_policy_that_never_moves_is_drawn():
    made = summary()
    flat = series(0, 40)
    flat |= {"equity_ratio": [0.0] * 40, "drawdown_ratio": [0.0] * 40}
    made["series"]["test"] = {"candidate": flat}
    equity = next(p for p in all_pictures(made) if p.name == "equity")
    assert "candidate 0.0%" in texts(equity.svg)


def test_no_cycle_gives_reasons_and_not_pictures():
    by_name = {picture.name: picture for picture in all_pictures(summary(n_cycles=0))}
    for name in ("hold", "trades", "multipliers", "rewards"):
        assert by_name[name].missing == "no cycle was run"


def test_readme_picture_is_the_same_png_twice():
    made = summary()
    first = readme_picture(made)
    assert first == readme_picture(made)
    assert first.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", first[16:24]) == (2_000, 1_424)
    assert b"Software" not in first


def readme_texts(made) -> list[str]:
    """Return the words around the pictures of the PNG."""
    figure = drawn.blank_figure(*drawn.README_SIZE)
    drawn.draw_readme(figure, made)
    return [" ".join(text.get_text().split()) for text in figure.texts]


def test_readme_picture_tells_verdict_seed_and_candidate():
    title, below, _ = readme_texts(summary(n_sessions=1_000))
    assert title == "ACCEPTED: SYNTHETIC planted, seed 1, 1,000 unseen sessions"
    assert below == (
        "Run seed 3; candidate: cycle 2 of 2, the last that beat the best before it; "
        "what tuning itself adds is not shown"
    )
    title, below, _ = readme_texts(fallen_back())
    assert title.startswith("REFUSED: ")
    assert "least bad: no cycle beat gold; 1 of 10 required verdicts did not pass" in below


def test_readme_picture_has_a_legend_of_what_is_drawn():
    legend = readme_texts(summary())[-1]
    for words in ("Open dots: training", "Tilted gold: gold, tilted to the same set points.", "Oracle: "):
        assert words in legend
    assert "Oracle" not in readme_texts(summary(oracle=False))[-1]


def test_thousands_are_separated_in_pictures():
    assert drawn._signed_percent(36.4, 1) == "+3,640.0%"
    assert drawn._signed_percent(64.0) == "+6,400%"
    assert drawn._signed_percent(-0.025) == "\N{MINUS SIGN}2.5%"


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(-50, 50), min_size=1, max_size=8),
    st.floats(0.1, 12.0),
)
def test_labels_are_pushed_apart_and_stay_in_range(values, step):
    low, high = -50.0, 50.0
    places = drawn._pushed_apart(sorted(values), step, low, high)
    assert all(b - a >= step - 1e-9 for a, b in pairwise(places))
    assert min(places) >= low - 1e-9
    assert max(places) <= high + 1e-9


def test_labels_that_have_room_stay_where_they_are():
    assert drawn._pushed_apart([1.0, 5.0, 9.0], 2.0, 0.0, 10.0) == [1.0, 5.0, 9.0]


@pytest.mark.parametrize(
    ("n_sessions", "first"), [(1, "01 Aug 2025"), (20, "01 Aug 2025"), (90, "Sep 2025"), (1_000, "2026")]
)
def test_dates_are_named_as_coarsely_as_fits(n_sessions, first):
    places, words = drawn._date_ticks(dates(n_sessions))
    assert words[0] == first
    assert 1 <= len(places) <= 6
    assert places == sorted(set(places))
    assert max(places) < n_sessions


def test_spread_of_sessions_is_drawn_between_its_quantiles():
    made = summary(n_cycles=1)
    made["cycles"] = [cycle(1, n_select=5)]
    figure = drawn.blank_figure(400.0, 300.0)
    axes = drawn.add_axes(figure, (40, 40, 300, 200))
    drawn.draw_behaviour(axes, made, drawn.trades_behaviour(made))
    sessions = np.array(made["cycles"][0]["trades_by_session"])
    wanted = np.quantile(sessions, [0.05, 0.95])
    lines = [line.get_ydata() for line in axes.get_lines()]
    assert any(len(line) == 2 and np.allclose(line, wanted) for line in lines)
