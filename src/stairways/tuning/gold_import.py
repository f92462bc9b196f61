"""Import: a gold made of a policy that stable-baselines3 or sb3-contrib trained elsewhere."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stairways.config import DateRange, MarketSettings
from stairways.errors import ConfigError, MismatchError, StorageError
from stairways.evaluation.verdicts import Verdict
from stairways.evaluation.vital_signs import Probe, probe_of, vital_signs
from stairways.learning.interchange.archive import MODEL_LIMITS
from stairways.learning.interchange.sb3_import import ForeignPolicy, read_sb3_zip
from stairways.market.dataset import Dataset
from stairways.market.features import FeatureConstants, compute_features
from stairways.market.samples import sample_market
from stairways.registry.artifact import write_artifact
from stairways.registry.files import ensure_writable, read_folder
from stairways.trading.observation import observe
from stairways.tuning.market_access import open_dataset
from stairways.tuning.packing import pack_gold
from stairways.tuning.ranges import span_of
from stairways.tuning.seeds import Stream, stream
from stairways.tuning.versions import library_versions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stairways.config import Settings
    from stairways.registry.artifact import Artifact
    from stairways.tuning.import_spec import ImportSpec

SAMPLE_SYMBOLS = ("NVDA", "MSFT", "AAPL")
SAMPLE_SESSIONS = 190
"""Sessions of the sample market that a policy is tried on where no market is named: 50 warm the regime up."""


@dataclass(frozen=True, eq=False)
class ImportOutcome:
    """What an import made.

    Attributes:
        digest: Identity of the artifact.
        record: How it was made, as the artifact keeps it.
        signs: Vital signs; those that did not pass are warnings.
        folder: The artifact's folder.
    """

    digest: str
    record: dict[str, Any]
    signs: tuple[Verdict, ...]
    folder: Path


def import_gold(model: Path, spec: ImportSpec, settings: Settings, out: Path) -> ImportOutcome:
    """Read a zip, check it against its specification, try the policy and write it as a gold.

    The order is that of cost: the zip is refused before any market is opened.

    Args:
        model: The zip.
        spec: What is in it.
        settings: Market and rules, on top of the specification's.
        out: Folder of the artifact.

    Raises:
        ArtifactError: If the zip is unsafe, damaged or not what the specification says.
        ConfigError: If the settings contradict the specification.
        StorageError: If something can't be read or written.
    """
    _check_settings(spec, settings)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StorageError("is not an empty folder", where=str(out), remedy="choose another --out")
    content = read_model(model)
    policy = read_sb3_zip(content, str(model), spec.policy_spec(), spec.order())
    ensure_writable(out)
    market = _ImportMarket.of(spec, settings)
    rng = np.random.default_rng(stream(settings.seed, Stream.PROBE))
    probe = market.probe(rng, long_only=settings.trading.long_only)
    signs = vital_signs(spec.policy_spec(), policy.weights, spec.columns(), probe, rng)
    digest_of_zip = hashlib.sha256(content).hexdigest()
    artifact = market.pack(spec, settings, policy, digest_of_zip)
    record = _record(spec, settings, policy, market, probe, signs)
    record["zip"] = {
        "name": model.name,
        "sha256": digest_of_zip,
        "bytes": len(content),
        "stable_baselines3": policy.version,
        "left_out": list(policy.left_out),
    }
    return ImportOutcome(write_artifact(out, artifact, record), record, signs, out)


def read_model(path: Path) -> bytes:
    """Return the bytes of a zip, once and for all that is done with it.

    Raises:
        StorageError: If it is missing, no regular file, or too large to be a policy.
    """
    place = path.resolve()
    found: Mapping[str, bytes] = {}
    if place.is_file():
        found = read_folder(place.parent, [place.name], max_file_bytes=MODEL_LIMITS.file_bytes).contents
    if place.name not in found:
        raise StorageError("no such file", where=str(path), remedy="name the zip that the model was saved to")
    return found[place.name]


@dataclass(frozen=True, eq=False)
class _ImportMarket:
    """The bars that an import has at hand.

    Attributes:
        dataset: Sessions to try the policy on.
        named: Whether the user named them; without that they are the sample market's.
        constants: What the artifact standardises with.
        tried_with: What the probe is standardised with.
        seen: Ranges that weights or constants have seen.
    """

    dataset: Dataset
    named: bool
    constants: FeatureConstants
    tried_with: FeatureConstants
    seen: tuple[DateRange, ...]

    @classmethod
    def of(cls, spec: ImportSpec, settings: Settings) -> _ImportMarket:
        market, source, seen = settings.market, spec.features.source, spec.provenance.seen
        named = market.bars is not None or "sample" in market.model_fields_set
        if isinstance(source, DateRange):
            if not named:
                raise ConfigError(
                    f"--bars is missing: the constants are to be fitted on {source}",
                    remedy="name the folder of the bars, or give features.constants in the specification",
                )
            dataset = open_dataset(settings)
            part = span_of(dataset.sessions, source, "fit")
            fitted = FeatureConstants.fit(dataset.raw, dataset.sessions, part)
            return cls(dataset, True, fitted, fitted, seen if source in seen else (*seen, source))
        given = spec.constants_of(source)
        if named:
            return cls(open_dataset(settings), True, given, given, seen)
        # on a foreign scale of prices given constants would say nothing: the sample has its own
        sample = _sample(settings)
        whole = FeatureConstants.fit(sample.raw, sample.sessions, slice(0, len(sample.sessions)))
        return cls(sample, False, given, whole, seen)

    def probe(self, rng: np.random.Generator, *, long_only: bool) -> Probe:
        """Return observations to try the policy on: of sessions it has seen, where there are some."""
        sessions = self.dataset.sessions
        known = np.zeros(len(sessions), dtype=np.bool_)
        for dates in self.seen if self.named else ():
            first, last = np.datetime64(dates.first, "D"), np.datetime64(dates.last, "D")
            known |= (sessions.dates >= first) & (sessions.dates <= last)
        observed = observe(sessions, self.dataset.table(self.tried_with))
        return probe_of(observed, rng, preferred=known, long_only=long_only)

    def pack(
        self, spec: ImportSpec, settings: Settings, policy: ForeignPolicy, digest_of_zip: str
    ) -> Artifact:
        """Return the artifact.

        Where no bars were named it states none: its regime starts cold, and its source is whoever
        trained it. Where constants were given, no bars are known that the policy was made on.
        """
        sessions = self.dataset.sessions
        behind = 0
        if self.named:
            last = max(np.datetime64(dates.last, "D") for dates in self.seen)
            behind = int(np.searchsorted(sessions.dates, last, side="right"))
        artifact = pack_gold(
            settings, self.dataset, spec.policy_spec(), policy.weights, self.constants, behind, self.seen
        )
        artifact = replace(artifact, symbols=spec.symbols)
        if not isinstance(spec.features.source, DateRange):
            artifact = replace(artifact, data_digest=digest_of_zip)
        if not self.named:
            artifact = replace(artifact, data_source=f"bars unknown: trained by {spec.provenance.trained_by}")
        return artifact


def _sample(settings: Settings) -> Dataset:
    market = settings.market
    symbols = SAMPLE_SYMBOLS[: len(market.symbols)]
    made = sample_market(
        MarketSettings().sample,
        symbols=symbols,
        interval_minutes=market.interval_minutes,
        n_sessions=SAMPLE_SESSIONS,
    )
    return Dataset(made.sessions, compute_features(made.sessions, market.regime), None, made)


def _check_settings(spec: ImportSpec, settings: Settings) -> None:
    market = settings.market
    stated = (spec.symbols, spec.interval)
    if (market.symbols, market.interval) != stated:
        raise MismatchError(
            f"the specification is for {','.join(spec.symbols)} at {spec.interval}, the settings say "
            f"{','.join(market.symbols)} at {market.interval}",
            where="options",
            remedy="leave symbols and interval to the specification",
        )
    if spec.trading is not None and settings.trading != spec.trading:
        raise ConfigError(
            "contradict those of the specification",
            where="trading rules of --config",
            remedy="state them in one of the two",
        )


def _record(
    spec: ImportSpec,
    settings: Settings,
    policy: ForeignPolicy,
    market: _ImportMarket,
    probe: Probe,
    signs: tuple[Verdict, ...],
) -> dict[str, Any]:
    fit = spec.features.fit
    return {
        "command": "gold import",
        "seed": settings.seed,
        "steps": 0,
        "config": settings.as_record(),
        "config_digest": settings.digest,
        "spec": spec.model_dump(mode="json"),
        "seen": [str(dates) for dates in market.seen],
        "constants": "given in the specification" if fit is None else f"fitted on {fit}",
        "regime": "as it stood behind the last session seen" if market.named else "cold: no bars were named",
        "parameters": int(sum(tensor.size for tensor in policy.weights.values())),
        "probe": {
            "source": probe.source,
            "named": market.named,
            "first": probe.first,
            "last": probe.last,
            "n_sessions": len(probe.rows),
            "n_observations": probe.n,
            "described": probe.describe(),
        },
        "vital_signs": [sign.as_record() for sign in signs],
        "versions": library_versions(),
    }
