"""Where compiled code is kept: in the folder that is named, or else in one of our own, and that is said."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import stairways
from stairways import compiled_cache
from stairways.cli.main import main
from stairways.compiled_cache import VARIABLE, sources_digest, use_own_cache

FOLDER = f"compiled-{sources_digest(Path(stairways.__file__).parent)}"
OWN = Path(stairways.__file__).parent / "__pycache__" / FOLDER


def used(monkeypatch, named: object) -> str:
    """Return the folder that is used where this one is named."""
    monkeypatch.setenv(VARIABLE, str(named))
    use_own_cache()
    return os.environ[VARIABLE]


def test_in_a_folder_that_is_named_one_of_our_own_is_used_and_made(tmp_path, monkeypatch, capsys):
    """An update must not go on running the code of the version before, wherever that was kept."""
    place = tmp_path / "compiled" / "code"
    for _ in range(2):
        assert used(monkeypatch, place) == str(place / FOLDER)
        (place / FOLDER / "market_0123").mkdir(exist_ok=True)
    # a process that was started by one of ours takes the same
    assert used(monkeypatch, place / FOLDER) == str(place / FOLDER)
    assert capsys.readouterr().err == ""


def test_no_name_is_no_folder(monkeypatch, capsys):
    assert used(monkeypatch, "") == str(OWN)
    monkeypatch.delenv(VARIABLE)
    use_own_cache()
    assert os.environ[VARIABLE] == str(OWN)
    assert capsys.readouterr().err == ""


def said_of(place: Path, reason: str) -> str:
    return (
        f"stairways: {VARIABLE}={place}: {reason}; compiled code is kept in {OWN} instead: "
        "name a folder that you may write to, or none\n"
    )


def test_one_that_can_not_be_written_is_said_and_another_is_taken(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "compiled"
    assert used(monkeypatch, place) == str(OWN)
    assert capsys.readouterr().err == said_of(place, "Not a directory")


@pytest.mark.parametrize("barred", ["", "market_0123"])
def test_one_in_which_another_may_write_alone_is_said(
    public_folder, monkeypatch, capsys, without_rights, barred
):
    bars = public_folder / FOLDER / barred if barred else public_folder
    bars.mkdir(parents=True, exist_ok=True)
    public_folder.chmod(0o777)
    # nor is a place of one's own at hand then
    with without_rights(bars):
        monkeypatch.setenv("HOME", str(bars))
        place = Path(used(monkeypatch, public_folder))
        assert place.name == FOLDER
        assert os.access(place.parent, os.W_OK, effective_ids=True)
    said = capsys.readouterr().err
    assert said.startswith(
        f"stairways: {VARIABLE}={public_folder}: Permission denied; compiled code is kept in"
    )
    assert str(place) in said


def test_a_command_says_it_once_and_numba_keeps_nothing_beside_the_sources(tmp_path):
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "compiled"
    code = (
        "import sys\nfrom stairways.cli.main import main\n"
        "sys.argv = ['stairways', '--version']\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert ended.code == 0\n"
        "from stairways.control.tilt import advance\nprint(advance.stats.cache_path)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {VARIABLE: str(place)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == said_of(place, "Not a directory")
    assert Path(done.stdout.splitlines()[-1]).parent == OWN


def test_where_nothing_can_be_written_a_command_ends_with_one_line(monkeypatch, capsys):
    def refused(*_, **__):
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setenv(VARIABLE, "/nowhere")
    monkeypatch.setattr(compiled_cache, "_refusal", lambda folder: OSError(30, "Read-only file system"))
    monkeypatch.setattr(tempfile, "mkdtemp", refused)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("stairways: no folder for compiled code: [Errno 2] No usable temporary directory")
    assert said.endswith(f"; name one that you may write to by {VARIABLE}\n")
