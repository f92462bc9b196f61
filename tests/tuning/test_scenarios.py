"""Scenarios by name and from files."""

from __future__ import annotations

import datetime as dt

import pytest

from stairways.errors import ConfigError
from stairways.tuning.scenarios import SCENARIOS, find_scenario, read_scenario

SOUND = {
    "name": "spring",
    "start_date": "2022-03-01",
    "end_date": "2022-05-31",
    "target_sharpe": 0.4,
    "description": "three months",
    "sample": "2022_bear_market:3",
}


def written(folder, **changes):
    lines = [f"{key}: {value}" for key, value in {**SOUND, **changes}.items() if value is not None]
    place = folder / "scenario.yml"
    place.write_text("\n".join(lines) + "\n")
    return place


def test_the_three_ranges_of_the_plan():
    assert {
        name: (str(s.start_date), str(s.end_date), s.target_sharpe, s.sample) for name, s in SCENARIOS.items()
    } == {
        "2022_bear_market": ("2022-01-01", "2022-12-31", 0.6, "2022_bear_market"),
        "2023_bull_market": ("2023-01-01", "2023-12-31", 0.6, "2023_bull_market"),
        "2024_choppy_market": ("2024-01-01", "2024-12-31", 0.6, "2024_choppy_market"),
    }


def test_choppy_is_named_as_the_label_that_it_is():
    assert "prices rose" in SCENARIOS["2024_choppy_market"].description


def test_a_name_may_carry_the_seed_of_its_year():
    found = find_scenario("2023_bull_market:17")
    assert found.sample == "2023_bull_market:17"
    assert found.model_copy(update={"sample": "2023_bull_market"}) == SCENARIOS["2023_bull_market"]


def test_a_file_is_read(tmp_path):
    found = find_scenario(str(written(tmp_path)))
    assert (found.name, found.target_sharpe, found.sample) == ("spring", 0.4, "2022_bear_market:3")
    assert found.dates.first == dt.date(2022, 3, 1)
    assert found.bars is None


def test_bars_of_a_file_stand_beside_it(tmp_path):
    assert read_scenario(written(tmp_path, bars="bars", sample=None)).bars == tmp_path / "bars"
    assert read_scenario(written(tmp_path, bars=tmp_path)).bars == tmp_path


def test_the_target_of_a_file_is_the_plans_unless_it_says_so(tmp_path):
    assert read_scenario(written(tmp_path, target_sharpe=None)).target_sharpe == 0.6


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": None}, ["name", "is missing"]),
        ({"start_date": None}, ["start_date", "is missing"]),
        ({"target": 1.0}, ["target", "is unknown", "target_sharpe"]),
        ({"end_date": "2022-01-31"}, ["2022-01-31", "before", "2022-03-01"]),
        ({"end_date": "tomorrow"}, ["end_date", "tomorrow"]),
        ({"target_sharpe": ".nan"}, ["target_sharpe", "nan"]),
        ({"target_sharpe": "high"}, ["target_sharpe", "high"]),
        ({"sample": "2025_quiet"}, ["2025_quiet", "2022_bear_market"]),
        ({"sample": "planted:x"}, ["seed x"]),
        ({"name": "[1, 2"}, ["no YAML"]),
    ],
)
def test_what_a_file_must_not_hold_is_told_in_one_line(tmp_path, changes, words):
    place = written(tmp_path, **changes)
    with pytest.raises(ConfigError) as raised:
        find_scenario(str(place))
    line = raised.value.line()
    assert "\n" not in line
    assert all(word in line for word in [*words, str(place)])


@pytest.mark.parametrize("content", ["", "- a\n- b\n", "just words"])
def test_a_file_without_a_mapping_holds_no_scenario(tmp_path, content):
    place = tmp_path / "scenario.yml"
    place.write_text(content)
    with pytest.raises(ConfigError, match="holds no scenario"):
        read_scenario(place)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="can't be read"):
        find_scenario(str(tmp_path / "none.yml"))


@pytest.mark.parametrize("words", ["2022", "2021_bear_market", "planted"])
def test_an_unknown_name_lists_those_there_are(words):
    with pytest.raises(ConfigError) as raised:
        find_scenario(words)
    assert all(name in raised.value.line() for name in SCENARIOS)


def test_a_seed_must_be_a_whole_number():
    with pytest.raises(ConfigError, match="seed x"):
        find_scenario("2022_bear_market:x")
