"""Waivers: a named person's signed word that one failed verdict of one model may pass."""

from __future__ import annotations

import datetime as dt

from stairways.errors import SignatureError
from stairways.registry.canonical import canonical_json
from stairways.registry.history_records import WaiverRecord
from stairways.registry.keys import SigningKey, TrustedKey, TrustList
from stairways.registry.signatures import Signature

WAIVER_DOMAIN = "stairways waiver"
LEAST_REASON = 10
"""Letters that a reason has at least."""


def make_waiver(
    *, waiver_id: str, model_id: str, verdict: str, name: str, reason: str, at: dt.datetime, key: SigningKey
) -> WaiverRecord:
    """Return a signed waiver.

    Raises:
        SignatureError: If the name is empty or the reason is none.
    """
    if not name.strip() or len(reason.strip()) < LEAST_REASON:
        raise SignatureError(
            f"a waiver needs a name and a reason of {LEAST_REASON} letters or more",
            where=f"waiver of {verdict}",
        )
    at = at.astimezone(dt.UTC)
    content = _content(waiver_id, model_id, verdict, name, reason, at)
    signature = Signature.of(WAIVER_DOMAIN, content, key, at)
    return WaiverRecord(waiver_id, model_id, verdict, name, reason, at, signature.as_record())


def verify_waiver(waiver: WaiverRecord, trust: TrustList, now: dt.datetime) -> TrustedKey:
    """Return whose word a waiver is.

    Raises:
        SignatureError: If it is nobody's who counts, or was changed.
    """
    where = f"waiver {waiver.waiver_id}"
    content = _content(
        waiver.waiver_id, waiver.model_id, waiver.verdict, waiver.name, waiver.reason, waiver.at
    )
    signature = Signature.parse(waiver.signature, where)
    return signature.verify(WAIVER_DOMAIN, content, trust, where=where, now=now)


def _content(waiver_id: str, model_id: str, verdict: str, name: str, reason: str, at: dt.datetime) -> bytes:
    return canonical_json(
        {
            "at": at.astimezone(dt.UTC).isoformat(),
            "model_id": model_id,
            "name": name,
            "reason": reason,
            "verdict": verdict,
            "waiver_id": waiver_id,
        }
    )
