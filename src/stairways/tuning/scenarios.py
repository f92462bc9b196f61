"""Scenarios: ranges of dates with a target, the plan's three by name and a user's own from a file."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Self

from pydantic import Field, ValidationError, model_validator

from stairways.config import DateRange
from stairways.errors import ConfigError
from stairways.market.samples import sample_spec
from stairways.operations_config import Part

FILE_SUFFIXES = (".yml", ".yaml")
PLAN_TARGET_SHARPE = 0.6


class Scenario(Part):
    """A range of dates, what it stands for and what is hoped for in it.

    Attributes:
        name: Its name.
        start_date: First date.
        end_date: Last date.
        target_sharpe: Annual net Sharpe ratio to reach.
        description: What it stands for.
        sample: Sample market to run on, ``NAME`` or ``NAME:SEED``; None for real bars alone.
        bars: Folder of real bars; None where the command line names one, or none is wanted.
    """

    name: str = Field(min_length=1, max_length=80)
    start_date: dt.date
    end_date: dt.date
    target_sharpe: float = Field(PLAN_TARGET_SHARPE, allow_inf_nan=False)
    description: str = ""
    sample: str | None = None
    bars: Path | None = None

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Self:
        if self.end_date < self.start_date:
            raise ValueError(f"end_date {self.end_date} lies before start_date {self.start_date}")
        return self

    @model_validator(mode="after")
    def _sample_is_known(self) -> Self:
        if self.sample is not None:
            try:
                sample_spec(self.sample)
            except ConfigError as error:
                raise ValueError(error.line()) from error
        return self

    @property
    def dates(self) -> DateRange:
        """The range of dates, both ends included."""
        return DateRange(first=self.start_date, last=self.end_date)


def _year(name: str, year: int, description: str) -> Scenario:
    return Scenario(
        name=name,
        start_date=dt.date(year, 1, 1),
        end_date=dt.date(year, 12, 31),
        description=description,
        sample=name,
    )


SCENARIOS: Mapping[str, Scenario] = MappingProxyType(
    {
        scenario.name: scenario
        for scenario in (
            _year("2022_bear_market", 2022, "high volatility and falling prices"),
            _year("2023_bull_market", 2023, "rising prices with momentum"),
            _year(
                "2024_choppy_market",
                2024,
                "choppy is a label: its sessions were choppier than those of 2022 and 2023, "
                "but prices rose over the year",
            ),
        )
    }
)
"""The plan's three ranges, each with a target Sharpe ratio of 0.6."""


def find_scenario(words: str) -> Scenario:
    """Return the scenario of a name, ``NAME`` or ``NAME:SEED``, or of a YAML file.

    Args:
        words: A name of ``SCENARIOS``; with ``:SEED`` its synthetic year is drawn from that seed. Anything
            else is the path of a file.

    Raises:
        ConfigError: If there is no such scenario or file, or the file's content can't be used.
    """
    known = SCENARIOS.get(words.partition(":")[0])
    if known is not None:
        sample_spec(words)
        return known.model_copy(update={"sample": words})
    path = Path(words)
    if path.suffix in FILE_SUFFIXES or path.exists():
        return read_scenario(path)
    raise ConfigError(
        f"there is no scenario {words!r}",
        where="--scenario",
        remedy=f"choose {', '.join(SCENARIOS)} (NAME:SEED for another synthetic year) or name a YAML file",
    )


def read_scenario(path: Path) -> Scenario:
    """Read a scenario from a YAML file; a relative ``bars`` is taken from the file's folder.

    Raises:
        ConfigError: If it can't be read, is no YAML mapping, lacks a key or holds one that is unknown or
            out of bounds.
    """
    try:
        scenario = Scenario.model_validate(_mapping(path))
    except ValidationError as error:
        raise _as_config_error(error, path) from error
    if scenario.bars is None or scenario.bars.is_absolute():
        return scenario
    return scenario.model_copy(update={"bars": path.parent / scenario.bars})


def _mapping(path: Path) -> dict[str, object]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"can't be read ({error})", where=str(path)) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"is no YAML ({error})", where=str(path)) from error
    if not isinstance(content, dict):
        raise ConfigError(
            "holds no scenario",
            where=str(path),
            remedy="write name, start_date, end_date, target_sharpe and sample or bars",
        )
    return content


def _as_config_error(error: ValidationError, path: Path) -> ConfigError:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    where = f"{path}, {key}" if key else str(path)
    if first["type"] == "missing":
        return ConfigError("is missing", where=where, remedy="a scenario needs name, start_date and end_date")
    if first["type"] == "extra_forbidden":
        return ConfigError(
            "is unknown", where=where, remedy=f"a scenario knows {', '.join(Scenario.model_fields)}"
        )
    if first["type"] == "value_error":
        return ConfigError(first["msg"].removeprefix("Value error, "), where=where)
    message = f"{first['msg'][:1].lower()}{first['msg'][1:]}, not {str(first['input'])[:60]}"
    return ConfigError(message, where=where, remedy="correct the value")
