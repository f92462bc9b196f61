import json
from dataclasses import FrozenInstanceError

import pytest

from stairways.evaluation.verdicts import GateResult, Group, Verdict, find


def verdict(name: str, *, passed: bool = True) -> Verdict:
    return Verdict(name, Group.SAFETY, passed, 0.5, "at most 1", 40, "measured", (0.4, 0.6))


def test_a_verdict_is_frozen():
    with pytest.raises(FrozenInstanceError):
        verdict("a").passed = False


def test_the_record_is_plain_json():
    record = verdict("a").as_record()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["group"] == "safety"
    assert record["interval"] == [0.4, 0.6]


def test_a_gate_passes_when_every_required_verdict_does():
    assert GateResult((verdict("a"), verdict("b")), ("a", "b")).passed


def test_what_is_not_required_does_not_gate():
    result = GateResult((verdict("a"), verdict("b", passed=False)), ("a",))
    assert result.passed
    assert result.failures() == ()


def test_a_failed_verdict_fails_the_gate_and_is_named():
    result = GateResult((verdict("a"), verdict("b", passed=False)), ("a", "b"))
    assert not result.passed
    assert result.failures() == ("b",)
    assert result.missing == ()


def test_a_missing_verdict_fails_the_gate_and_is_named():
    result = GateResult((verdict("a"),), ("a", "b"))
    assert not result.passed
    assert result.missing == ("b",)
    assert result.failures() == ("b",)


def test_a_gate_that_requires_nothing_does_not_pass():
    assert not GateResult((verdict("a"),), ()).passed


def test_verdicts_are_found_by_name():
    verdicts = (verdict("a"), verdict("b"))
    assert find(verdicts, "b") is verdicts[1]
    with pytest.raises(KeyError, match="c"):
        find(verdicts, "c")
