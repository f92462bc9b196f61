"""Fixtures of the proofs of the command line."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from workbench import FAST, SYMBOLS, Market, frame_of, made_sessions, pack_holding_gold, ranges_of, write_yaml

from stairways.cli.main import run


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line on standard error."""
        assert self.err.startswith("stairways: "), self.err
        assert self.err.count("\n") == 1, self.err
        assert self.err.endswith("\n"), self.err
        assert "Traceback" not in self.err + self.out
        return self.err.removeprefix("stairways: ").strip()


@pytest.fixture
def cli(capsys):
    """Run a command in this process."""

    def command(*arguments):
        capsys.readouterr()
        status = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ended(status, captured.out, captured.err)

    return command


@pytest.fixture(scope="session")
def market(tmp_path_factory):
    """Bars of 140 sessions on disk, a gold trained on the first 60, fast settings."""
    folder = tmp_path_factory.mktemp("market")
    sessions = made_sessions()
    bars = folder / "bars"
    bars.mkdir()
    for symbol in SYMBOLS:
        frame_of(sessions, symbol).write_parquet(bars / f"{symbol}.parquet")
    ranges = ranges_of(sessions)
    pack_holding_gold(folder / "gold", bars, ranges["train"])
    return Market(bars, sessions, ranges, folder / "gold", write_yaml(folder / "fast.yml", FAST))


@pytest.fixture(scope="session")
def tuned(market, tmp_path_factory):
    """An unbroken run of the main job with seed 7."""
    out = tmp_path_factory.mktemp("tuned") / "run"
    assert run(market.tune(out, "--seed", "7")) in (0, 1)
    return out
