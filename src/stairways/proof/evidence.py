"""The evidence page: made from the folders that experiments wrote, never typed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stairways.errors import ConfigError, StorageError
from stairways.proof.experiment import markdown_row
from stairways.proof.folder import REPORT, RESULTS
from stairways.proof.sources import code_of
from stairways.registry.canonical import parse_json_object
from stairways.registry.files import write_text_atomic

HEAD = """# Evidence

Written by `stairways prove` from the folders of its experiments; no figure is typed. Planted, noise and
scenario markets are SYNTHETIC. Hold rates and trades are measured in the deployment mode that is named;
the hold rate of chance is 1/9 with two symbols. Differences are net basis points of NAV per session with
two-sided 95 % intervals (paired stationary bootstrap, studentised) unless another is named. What did not
reach its bar stands here in the same size of type.
"""


SHOWN_DIGITS = 12


def check_page(page: Path) -> None:
    """Refuse a place where no page can stand, before anything is worked for it.

    Raises:
        ConfigError: If it is a folder or is not named as Markdown.
    """
    if page.suffix != ".md" or page.is_dir():
        raise ConfigError(
            "is no Markdown file", where=f"--page {page}", remedy="name a file that ends in .md"
        )


def write_page(folders: Sequence[Path], page: Path, *, command: str, missing: Sequence[str] = ()) -> None:
    """Write the page and put its pictures beside it.

    Args:
        folders: Folders of finished experiments, in the order of the page.
        page: The Markdown file; pictures go to ``images/<page's name>/`` beside it.
        command: The command that made the folders, as a person types it.
        missing: Names of experiments that were not run; the page says so.

    Raises:
        StorageError: If a folder holds no finished experiment.
    """
    found = [(folder, _results(folder)) for folder in folders]
    pictures = page.parent / "images" / page.stem
    parts = [HEAD, f"    {command}\n", _overview([results for _, results in found], missing)]
    for folder, results in found:
        text = (folder / REPORT).read_text(encoding="utf-8")
        for plot in results["plots"]:
            name = f"{results['experiment']}-{plot['name']}.png"
            pictures.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / f"{plot['name']}.png", pictures / name)
            text = text.replace(f"]({plot['name']}.png)", f"](images/{page.stem}/{name})")
        parts.append(text)
    page.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomic(page, "\n".join(part.rstrip() + "\n" for part in parts))


def _results(folder: Path) -> dict[str, Any]:
    place = folder / RESULTS
    if not place.is_file():
        raise StorageError("holds no finished experiment", where=str(folder), remedy="run it first")
    try:
        return dict(parse_json_object(place.read_bytes()))
    except (OSError, ValueError) as error:
        raise StorageError(f"can't be read ({error})", where=str(place), remedy="run it again") from error


def _overview(found: Sequence[dict[str, Any]], missing: Sequence[str]) -> str:
    lines = [
        "| experiment | bars held | form | seed | data | minutes of one core | code |",
        "|---|---|---|---|---|---|---|",
    ]
    for results in found:
        bars = results["bars"]
        held = sum(bar["passed"] for bar in bars)
        code = str(results["code"])[:SHOWN_DIGITS]
        anchor = re.sub(r"[^a-z0-9 -]", "", results["title"].lower()).replace(" ", "-")
        words = [
            f"[{results['title']}](#{anchor})",
            f"{held} of {len(bars)}" if 0 < held == len(bars) else f"**{held} of {len(bars)}**",
            "quick" if results["quick"] else "full",
            str(results["seed"]),
            str(results["data"]),
            f"{results['cell_seconds'] / 60:.1f}",
            f"`{code}`" if results["code"] == code_of(results["module"]) else f"`{code}`, **not today's**",
        ]
        lines.append(markdown_row(words))
    lines += [markdown_row([name, "**not run**", "-", "-", "-", "-", "-"]) for name in missing]
    lines += ["", "Code: SHA-256 of all that made the experiment's results, its first digits."]
    return "\n".join(lines) + "\n"
