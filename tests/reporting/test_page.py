import copy
import json
import re
from html.parser import HTMLParser

import pytest
from summaries import REQUIRED, fallen_back, no_sharpe, refused, summary, verdict, without_skill

from stairways.reporting.page import (
    least_bad,
    number,
    observed_text,
    outcome,
    percent,
    probability,
    sharpe_text,
    summary_page,
    threshold_text,
    verdict_groups,
)

MINUS = "\N{MINUS SIGN}"
VOID = {"meta", "br", "link", "img", "hr", "input"}


class Page(HTMLParser):
    """Reads a page: what a person sees of it, its identifiers, and whether its elements nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.handlers: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_data(self, data):
        if not {"style", "title"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def page() -> str:
    return summary_page(summary())


@pytest.fixture(scope="module")
def text(page: str) -> str:
    return Page(page).text


def test_page_nests_and_no_identifier_stands_twice(page):
    read = Page(page)
    assert read.open == []
    assert len(read.ids) == len(set(read.ids)) > 100


def test_page_names_every_verdict_with_its_reason(text):
    for given in summary()["verdicts"]:
        assert given["name"] in text
        assert given["reason"] in text


def test_page_shows_every_policy_and_comparison(text):
    for name in ("candidate", "gold", "tilted gold", "random", "all hold", "buy and hold", "oracle"):
        assert name in text
    assert "random at equal turnover" in text
    assert "gold, tilted to the same set points" in text
    assert f"{MINUS}0.50 1.50 {MINUS}3.50 to +2.50 95% 99.0%" in text


def test_page_needs_no_network_and_no_script(page):
    assert re.search(r"https?:|[\"=(]//|@import|url\((?!#)", page) is None
    assert not {"script", "link", "iframe", "object", "img"} & set(Page(page).tags)


def test_page_is_the_same_bytes_for_the_same_summary(page):
    assert summary_page(summary()) == page
    assert summary_page(json.loads(json.dumps(summary()))) == page


def test_steps_of_the_candidate_have_thousands_separators():
    made = summary()
    made["run"]["candidate_steps"] = 1_698_594
    assert "Candidate steps 1,698,594" in Page(summary_page(made)).text


def test_page_changes_with_the_numbers(page):
    changed = summary()
    changed["candidate"]["hold_rate_ratio"] = 0.4321
    assert "43.2%" in Page(summary_page(changed)).text
    assert "43.2%" not in page


def test_page_leaves_its_summary_as_it_was():
    given = summary()
    before = copy.deepcopy(given)
    summary_page(given)
    assert given == before


def test_hostile_text_is_escaped_everywhere():
    hostile = '"><script>alert(1)</script><img src=x onerror=alert(1)>&$\\frac{'
    made = summary(synthetic=False)
    made["data"]["source"] = hostile
    made["data"]["symbols"] = [hostile, "MSFT"]
    made["data"]["quality"]["dropped"][0]["reason"] = hostile
    made["data"]["quality"]["per_symbol"][0]["symbol"] = hostile
    made["data"]["ranges"][hostile] = made["data"]["ranges"]["test"]
    made["verdicts"][0] |= {"reason": hostile, "threshold": hostile, "name": hostile}
    made["baselines"][hostile] = made["baselines"]["random"]
    made["comparisons"][hostile] = made["comparisons"]["random"]
    made["series"]["test"][hostile] = made["series"]["test"]["random"]
    made["run"] |= {"stopped": hostile, "database": hostile, hostile: hostile}
    made["control"]["preflight"]["text"] = hostile
    made["control"]["actuator"][hostile] = hostile
    made["cycles"][0] |= {"improved": False, "reward_shares": {hostile: 1.0}}
    made["cycles"][0]["improvement"] |= {"improved": False, "reason": hostile}
    read = Page(summary_page(made))
    assert not {"script", "img"} & set(read.tags)
    assert read.handlers == []
    assert read.open == []
    assert read.text.count("alert(1)") > 10


def test_synthetic_bars_are_named_so_and_real_ones_are_not(text):
    assert text.count("SYNTHETIC") >= 2
    real = Page(summary_page(summary(synthetic=False))).text
    assert "SYNTHETIC" not in real
    assert "bars in /bars" in real
    assert "Folder ../data/of/bars" in real
    assert "Folder" not in text
    assert "2025-06-19 NVDA 9 78 a gap" in real


def test_no_number_is_printed_as_nan_or_none(page):
    made = summary(n_sessions=1)
    made["candidate"] = no_sharpe()
    made["gold"] = no_sharpe()
    made["baselines"] = {"all_hold": no_sharpe(net_return_ratio=float("nan"), turnover_ratio=float("inf"))}
    made["verdicts"][0] |= {"observed": None, "interval": None}
    for shown in (page, summary_page(made)):
        words = Page(shown).text
        assert re.search(r"\b(nan|NaN|inf|None|Undefined)\b", words) is None
    assert "not enough sessions" in words
    assert "not measured" in words
    assert "not finite" in words


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("cycles", "No cycle was run."),
        ("series", "No picture: this summary holds no series of the unseen sessions."),
        ("comparisons", "No paired comparison was made."),
        ("baselines", "Verdicts"),
    ],
)
def test_a_missing_part_is_named(part, words):
    made = summary()
    del made[part]
    assert words in Page(summary_page(made)).text


def test_page_without_oracle_and_without_preflight():
    made = summary(oracle=False)
    made["control"]["preflight"] = {}
    text = Page(summary_page(made)).text
    assert "oracle" not in text
    assert "This summary holds no authority report" in text


def test_reward_shares_are_drawn_once_the_summary_has_them(text):
    assert "No picture: this summary does not record the shares of the reward terms." in text
    made = summary()
    for cycle in made["cycles"]:
        cycle["reward_shares"] = {"nav": 0.9, "downside": 0.1, "turnover": 0.0}
    drawn = Page(summary_page(made)).text
    assert "nav 90.0%" in drawn
    assert "downside 10.0%" in drawn
    assert "turnover 0.0%" not in drawn


def test_page_of_a_thousand_sessions_stays_small():
    size = len(summary_page(summary(n_sessions=1_000, n_cycles=8)).encode())
    assert size < 1_500_000


def test_accepted_says_so():
    said = outcome(summary())
    assert (said.word, said.tone, said.failed) == ("ACCEPTED", "good", ())
    assert said.sentence.startswith(
        "Accepted: in its bands, safe and with proven skill on 40 unseen sessions."
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"interval": [-0.6, 3.23]},
         "What tuning itself adds is not shown (-0.60 to +3.23 bp against gold tilted to the same set "
         "points): the tilt or gold may carry the result."),
        ({"interval": [-3.0, -0.5]}, "Tuning itself took away (-3.00 to -0.50 bp against gold tilted"),
        ({"interval": None, "observed": None}, "What tuning itself adds was not measured"),
    ],
)  # fmt: skip
def test_accepted_says_when_tuning_s_own_share_is_not_shown(changes, words):
    made = summary()
    made["verdicts"][-2] |= changes
    assert f"unseen sessions. {words}" in outcome(made).sentence
    assert words.replace("-", MINUS) in Page(summary_page(made)).text


def test_a_share_that_is_shown_needs_no_words_and_a_refusal_has_none():
    shown = summary()
    shown["verdicts"][-2] |= {"passed": True, "interval": [0.2, 3.0]}
    for made in (shown, refused("hold_rate")):
        assert "uning itself" not in outcome(made).sentence


def test_accepted_without_skill_says_so_everywhere():
    said = outcome(without_skill())
    assert said.word == "ACCEPTED WITHOUT PROVEN SKILL"
    assert said.failed == (("beats_random", "the reason of beats_random"),)
    assert "ACCEPTED WITHOUT PROVEN SKILL" in Page(summary_page(without_skill())).text


def test_refused_names_what_failed():
    made = refused("hold_rate", "beats_gold")
    said = outcome(made)
    assert said.word == "REFUSED"
    assert said.sentence == (
        "Refused: 2 of 10 required verdicts did not pass on 40 unseen sessions: hold rate and beats gold."
    )
    text = Page(summary_page(made)).text
    assert "2 of 3 passed" in text
    assert text.count("FAILED") == 2


def test_a_required_verdict_that_is_missing_refuses_whatever_the_run_says():
    made = summary()
    made["verdicts"] = [given for given in made["verdicts"] if given["name"] != "integrity"]
    said = outcome(made)
    assert said.word == "REFUSED"
    assert said.failed == (("integrity", "was never judged"),)
    assert "was never judged" in Page(summary_page(made)).text


def test_a_verdict_that_does_not_gate_is_no_failure():
    groups = {group["title"]: group for group in verdict_groups(summary()["verdicts"], REQUIRED)}
    row = groups["Information"]["rows"][0]
    assert (row["name"], row["word"], row["tone"]) == ("tuning_adds", "no", "plain")
    assert groups["Information"]["note"] == "1 of 2 passed; does not gate"
    assert groups["Skill"]["note"] == "3 of 3 passed"


@pytest.mark.parametrize(
    ("name", "threshold", "shown"),
    [
        ("hold_rate", "0.550 ± 0.030 of decisions", "55.0% ± 3.0 points of decisions"),
        (
            "intraday_drawdown",
            "at most 0.010 of sessions with a drawdown above 0.0200 of NAV",
            "at most 1.0% of sessions with a drawdown above 2.00% of NAV",
        ),
        ("parameter_drift", "at most 0.15 of the norm", "at most 15% of the norm"),
        ("shadow_replay", "at least 0.5 bp, trades 5 to 25", "at least 0.5 bp, trades 5 to 25"),
        ("session_trades_band", "at least 1.000 of sessions", "at least 100.0% of sessions"),
        ("tuning_adds", "95% interval above 0 bp", "95% interval above 0 bp"),
    ],
)  # fmt: skip
def test_thresholds_speak_percent(name, threshold, shown):
    assert threshold_text(name, threshold) == shown


def test_observed_values_carry_their_unit():
    assert observed_text("hold_rate", 0.5501) == "55.0%"
    assert observed_text("beats_gold", 5.039) == "+5.04 bp"
    assert observed_text("trades_per_session", 16.45) == "16.45 trades"
    assert observed_text("integrity", 0.0) == "0 changed"
    assert observed_text("drawdown", 0.01661) == "1.66%"
    assert observed_text("sharpe", 5.746) == "5.75"
    assert observed_text("out_of_sample", 1_200.0) == "1,200 seen"
    assert observed_text("hold_rate", None) == "not measured"
    assert observed_text("something_new", 0.123456) == "0.1235"
    assert observed_text("something_new", float("nan")) == "not finite"


def test_numbers_know_no_negative_zero():
    assert number(-0.001) == "0.00"
    assert number(-0.001, sign=True) == "0.00"
    assert number(1234.5, sign=True) == "+1,234.50"
    assert percent(-0.12345) == "-12.3%"
    assert percent(-0.0) == "0.0%"


def test_probabilities_never_claim_certainty():
    assert probability(1.0) == ">99.9%"
    assert probability(0.0) == "<0.1%"
    assert probability(0.25) == "25.0%"


def test_sharpe_says_why_there_is_none():
    assert (
        sharpe_text({"sharpe": None, "sharpe_standard_error": None, "n_sessions": 19})
        == "not enough sessions"
    )
    assert sharpe_text({"sharpe": None, "sharpe_standard_error": None, "n_sessions": 20}) == "no variance"
    assert sharpe_text({"sharpe": 3.505, "sharpe_standard_error": 0.5, "n_sessions": 1000}) == "3.50 ± 0.50"


def test_reward_actuator_has_a_page_too():
    made = summary()
    made["control"]["actuator"] = {"kind": "reward", "base_hold_bonus_bps": 0.2}
    made["control"]["points"]["hold_mode"] = "regime"
    for cycle in made["cycles"]:
        cycle["multipliers"] = None
    text = Page(summary_page(made)).text
    assert "Hold bonus over the cycles" in text
    assert "55.0% +10.0 points per unit of regime score, within 25% to 85% (regime)" in text


def test_a_cycle_that_improved_and_failed_its_gate_is_not_kept():
    made = summary()
    made["cycles"][1] |= {"improved": False, "gate_passed": False}
    made["cycles"][1]["verdicts"][0] = verdict("hold_rate", passed=False)
    text = Page(summary_page(made)).text
    assert "not kept: out of band or not safe (against cycle 1)" in text
    assert "FAILED hold rate" in text


def test_a_cycle_that_improved_and_drifted_too_far_is_not_kept():
    made = summary()
    made["cycles"][1]["improved"] = False
    assert "not kept: drift over its limit (against cycle 1)" in Page(summary_page(made)).text


def test_each_cycle_says_what_it_was_measured_against(text):
    assert "improved (against untilted gold)" in text
    assert "improved (against cycle 1)" in text
    assert "which is gold as it is, untilted, until a cycle beats it" in text


def test_the_chosen_cycle_is_called_least_bad_where_no_cycle_beat_gold(text):
    fallen = Page(summary_page(fallen_back())).text
    assert "Candidate's cycle 2 of 2, least bad: no cycle beat gold" in fallen
    assert "2 least bad 12,000 steps no cycle beat gold" in fallen
    assert "(against cycle" not in fallen
    assert "Candidate's cycle 2 of 2, the last that beat the best before it" in text
    assert "2 chosen 12,000 steps" in text
    assert "least bad" not in text


def test_a_cycle_that_beat_gold_out_of_band_was_not_beaten_by_gold():
    made = fallen_back()
    made["cycles"][0]["improvement"]["improved"] = True
    assert least_bad(made) == "least bad: no cycle beat gold in band and safe"
