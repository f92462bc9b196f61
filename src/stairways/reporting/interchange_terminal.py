"""The terminal: what came out of a foreign policy, and what went into one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stairways.reporting.tables import print_path
from stairways.reporting.terminal import STYLES

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console


def print_import(console: Console, record: Mapping[str, Any], digest: str, folder: Path) -> None:
    """Print what was read and left, each vital sign with its figure, and the artifact.

    Args:
        console: Where to.
        record: How the gold was made, as its artifact keeps it.
        digest: Identity of the artifact.
        folder: Its folder.
    """
    read, probe = record["zip"], record["probe"]
    _line(
        console,
        f"Read {record['parameters']:,} weights of stable-baselines3 {read['stable_baselines3']}; never "
        f"opened: {', '.join(read['left_out']) or 'nothing'}.",
    )
    _line(console, f"Feature constants {record['constants']}; regime state {record['regime']}.")
    words = "" if probe["named"] else " (no bars were named; standardised by constants of its own)"
    _line(console, f"Tried on {probe['described']}{words}, positions drawn at random:")
    for sign in record["vital_signs"]:
        good = sign["passed"]
        _line(
            console,
            f"  {'ok' if good else 'WARNING'}  {sign['name']}: {sign['reason']}"
            + ("" if good else f"; wanted: {sign['threshold']}"),
            "good" if good else "warn",
        )
    warnings = sum(not sign["passed"] for sign in record["vital_signs"])
    told = f"{warnings} warning{'s' if warnings != 1 else ''}" if warnings else "no warnings"
    _line(console, f"Gold imported, {told}; seen: {', '.join(record['seen'])}.")
    print_path(console, f"Artifact {digest[:12]}", folder)


def print_export(console: Console, record: Mapping[str, Any], place: Path) -> None:
    """Print what was exported, how well it agrees with the actor, and what it leaves out.

    Args:
        console: Where to.
        record: What the export made and measured.
        place: The file.
    """
    agreement = record["agreement"]
    if agreement is None:
        _line(console, f"Not compared with the actor: {record['not_compared']}.", "warn")
    else:
        n, equal, widest = agreement["n"], agreement["n_equal"], agreement["widest_differing_margin"]
        differing = f"; where they differ, the best two logits lie within {widest:.1e}" if equal < n else ""
        _line(
            console,
            f"Greedy actions equal to the actor's on {equal:,} of {n:,} observations (smallest margin "
            f"between the best two logits: {agreement['smallest_margin']:.1e}){differing}.",
            "good" if equal == n else "warn",
        )
    for note in record["notes"]:
        _line(console, note)
    print_path(console, f"{record['form']} of artifact {record['digest'][:12]}", place)


def _line(console: Console, text: str, tone: str = "") -> None:
    from rich.text import Text

    console.print(Text(text, style=STYLES.get(tone, "")), soft_wrap=True)
