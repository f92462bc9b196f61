"""Export: an artifact's policy as a file that others open, held against the actor before it is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from stairways.errors import StorageError, TrainingError
from stairways.learning.interchange.agreement import Agreement, agreement_of, observations
from stairways.learning.interchange.layout import observation_columns
from stairways.market.features import CLIP, FEATURE_NAMES, FeatureConstants
from stairways.registry.files import ensure_writable, write_bytes_atomic, write_text_atomic
from stairways.trading.actions import action_meanings

if TYPE_CHECKING:
    from stairways.policies.spec import PolicySpec
    from stairways.unpacking import Packed

WIDEST_TIE = 1e-4
"""Logits: an exported policy may choose otherwise only where the actor's best two are this close."""

SPEC_SUFFIX = ".spec.yml"


def export_sb3(packed: Packed, place: Path) -> dict[str, Any]:
    """Write a zip for stable-baselines3 or sb3-contrib, and beside it what ``gold import`` asks for.

    Args:
        packed: The artifact.
        place: The zip; the specification stands beside it under the name with ``.spec.yml``.

    Returns:
        What was made and measured, as plain JSON types.

    Raises:
        ArtifactError: If the policy has a regime gate that the library can't express.
        StorageError: If something stands there, or it can't be written.
        TrainingError: If the exported policy acts differently.
    """
    from stairways.learning.interchange.sb3_export import acting, expressible, sb3_model, sb3_zip
    from stairways.learning.runtime import prepare_torch

    beside = place.with_name(place.name + SPEC_SUFFIX)
    for path in (place, beside):
        _check_place(path)
    prepare_torch()
    policy = expressible(packed.spec, packed.artifact.weights)
    model = sb3_model(policy.spec, policy.weights)
    seen = policy.spec.n_trunk_inputs
    agreement = agreement_of(packed.program, observations(packed.spec), acting(model, seen))
    _check_agreement(agreement)
    write_bytes_atomic(place, sb3_zip(model))
    write_text_atomic(beside, _import_spec(packed, policy.spec))
    record = _record(packed, "Zip of stable-baselines3", agreement)
    record["notes"] += [policy.folded] if policy.folded else []
    record["notes"] += [
        f"It sees {seen} columns in [-{CLIP:g}, {CLIP:g}]: {_columns_in_words(packed, policy.spec)}.",
        f"What `stairways gold import` asks for stands beside it: {beside.name}.",
    ]
    return record


def export_onnx(packed: Packed, place: Path) -> dict[str, Any]:
    """Write an ONNX model; arguments, answer and errors as :func:`export_sb3`, the gate included."""
    from stairways.learning.interchange.onnx_export import acting_in_onnx, onnx_inputs, onnx_model

    _check_place(place)
    content = onnx_model(packed.spec, packed.artifact.weights, _metadata(packed))
    act = acting_in_onnx(content, packed.spec)
    agreement = None
    if act is not None:
        agreement = agreement_of(packed.program, observations(packed.spec), act)
        _check_agreement(agreement)
    write_bytes_atomic(place, content)
    record = _record(packed, "ONNX model", agreement)
    record["notes"].append(
        f"It sees {onnx_inputs(packed.spec)} columns in [-{CLIP:g}, {CLIP:g}]; their names, the constants "
        "that standardise them and the meanings of the actions are in the file's metadata."
    )
    return record


def _check_place(place: Path) -> None:
    if place.exists() or place.is_symlink():
        raise StorageError("something stands there already", where=str(place), remedy="choose another name")
    ensure_writable(place)


def _check_agreement(agreement: Agreement) -> None:
    if agreement.widest_differing_margin > WIDEST_TIE:
        raise TrainingError(
            f"the exported policy acts differently on {agreement.n - agreement.n_equal:,} of "
            f"{agreement.n:,} observations, where logits are up to "
            f"{agreement.widest_differing_margin:.1e} apart",
            where="export",
            remedy="nothing was written; weights this large don't carry over from one library to another",
        )


def _record(packed: Packed, form: str, agreement: Agreement | None) -> dict[str, Any]:
    return {
        "form": form,
        "digest": packed.digest,
        "agreement": None if agreement is None else agreement.as_record(),
        "not_compared": "onnxruntime is not installed" if agreement is None else None,
        "notes": [_tilt_in_words(packed)],
    }


def _tilt_in_words(packed: Packed) -> str:
    """Tell that the controller stays behind, and what that means for this artifact."""
    if packed.loop() is None:
        return "The policy acts as it is; no controller belongs to it."
    multipliers = packed.multipliers
    told = (
        ""
        if multipliers is None
        else f" (lambda_hold {multipliers[0]:.2f}, lambda_trade {multipliers[1]:.2f})"
    )
    return (
        f"The controller's tilt{told} is not part of it: this is the policy underneath, whose hold rate and "
        "trades per session are not those that the artifact was accepted with."
    )


def _columns_in_words(packed: Packed, spec: PolicySpec) -> str:
    columns = observation_columns(packed.artifact.symbols, with_regime=spec.regime == "concat")
    return f"{columns[0]} to {columns[-1]}"


def _metadata(packed: Packed) -> dict[str, str]:
    artifact, spec = packed.artifact, packed.spec
    columns = observation_columns(artifact.symbols, with_regime=spec.regime in ("gate", "concat"))
    return {
        "artifact_digest": packed.digest,
        "symbols": json.dumps(list(artifact.symbols)),
        "interval_minutes": str(artifact.interval_minutes),
        "columns": json.dumps(list(columns)),
        "clip": f"{CLIP:g}",
        "constants": json.dumps(constants_by_column(packed.constants)),
        "actions": json.dumps(list(action_meanings(spec.n_symbols))),
        "recurrent_state": "zero at each session's open",
        "tilt": _tilt_in_words(packed),
    }


def constants_by_column(constants: FeatureConstants) -> dict[str, dict[str, float]]:
    """Return mean and standard deviation by ``SYMBOL.feature``, as an import's specification has them."""
    return {
        f"{symbol}.{name}": {
            "mean": float(constants.mean[leg, feature]),
            "std": float(constants.scale[leg, feature]),
        }
        for leg, symbol in enumerate(constants.symbols)
        for feature, name in enumerate(FEATURE_NAMES)
    }


def _import_spec(packed: Packed, spec: PolicySpec) -> str:
    """Return the specification that imports the zip again."""
    shape = spec.model_dump(mode="json", exclude={"n_symbols"})
    content = {
        "symbols": list(packed.artifact.symbols),
        "interval": f"{packed.artifact.interval_minutes}min",
        "policy": shape,
        "features": {"constants": constants_by_column(packed.constants)},
        "trading": packed.rules.model_dump(mode="json"),
        "provenance": {
            "trained_by": f"stairways, artifact {packed.digest}",
            "seen": [str(dates) for dates in packed.seen],
        },
    }
    text: str = yaml.safe_dump(content, sort_keys=False)
    return text
