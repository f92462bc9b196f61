"""Errors: one line with what, where and what to do."""

from __future__ import annotations

import inspect

import pytest

from stairways import errors
from stairways.errors import (
    ArtifactError,
    BarsError,
    ConfigError,
    InputError,
    MismatchError,
    RangeError,
    StairwaysError,
    StorageError,
    TrainingError,
)

EVERY = [value for value in vars(errors).values() if inspect.isclass(value)]


@pytest.mark.parametrize("kind", EVERY)
def test_a_line_has_where_what_and_what_to_do(kind):
    error = kind("seed is -1", where="options", remedy="choose 0 or more")
    assert error.line() == str(error) == "options: seed is -1; choose 0 or more"
    assert (error.what, error.where, error.remedy) == ("seed is -1", "options", "choose 0 or more")


@pytest.mark.parametrize(
    ("named", "line"),
    [
        ({}, "what"),
        ({"where": "here"}, "here: what"),
        ({"remedy": "do this"}, "what; do this"),
        ({"where": "here\nand there", "remedy": "do\n\n this "}, "here and there: what; do this"),
    ],
)
def test_parts_that_are_missing_and_lines_that_break(named, line):
    assert StairwaysError("what", **named).line() == line
    assert "\n" not in StairwaysError("a\n\tb  c").line()


def test_bad_input_is_told_from_training_that_can_not_go_on():
    for kind in (BarsError, RangeError, ConfigError, ArtifactError, MismatchError, StorageError):
        assert issubclass(kind, InputError)
    assert issubclass(MismatchError, ArtifactError)
    assert not issubclass(TrainingError, InputError)
    assert all(issubclass(kind, StairwaysError) for kind in EVERY)
