"""Export: a policy that acts differently is never written."""

from __future__ import annotations

import pytest

from stairways.errors import TrainingError
from stairways.learning.interchange.agreement import Agreement
from stairways.tuning import policy_export
from stairways.tuning.packing import unpack
from stairways.tuning.shipped import shipped_gold


@pytest.fixture(scope="module")
def gold():
    return unpack(shipped_gold())


def with_agreement(monkeypatch, n_equal, margin):
    found = Agreement(n=10_000, n_equal=n_equal, smallest_margin=1e-6, widest_differing_margin=margin)
    monkeypatch.setattr(policy_export, "agreement_of", lambda *_: found)


def test_the_shipped_gold_goes_out(gold, tmp_path):
    record = policy_export.export_sb3(gold, tmp_path / "gold.zip")
    assert record["agreement"]["n_equal"] == record["agreement"]["n"] == 10_000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gold.zip", "gold.zip.spec.yml"]


def test_actions_that_differ_beyond_a_tie_are_refused_and_nothing_is_written(gold, tmp_path, monkeypatch):
    with_agreement(monkeypatch, 9_990, 0.3)
    with pytest.raises(TrainingError, match=r"acts differently on 10 of 10,000 observations, .* 3\.0e-01"):
        policy_export.export_sb3(gold, tmp_path / "gold.zip")
    assert not list(tmp_path.iterdir())


def test_a_tie_that_rounds_the_other_way_is_written_and_told(gold, tmp_path, monkeypatch):
    with_agreement(monkeypatch, 9_999, 2e-7)
    record = policy_export.export_sb3(gold, tmp_path / "gold.zip")
    assert record["agreement"]["n_equal"] == 9_999
    assert (tmp_path / "gold.zip").is_file()
