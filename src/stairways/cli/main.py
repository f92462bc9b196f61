"""The ``stairways`` command."""

from __future__ import annotations

import errno
import os
import sys

import typer

from stairways import __version__
from stairways.cli import (
    backtest,
    bars,
    check,
    cross_asset,
    dry_run,
    evaluate,
    export,
    frontier,
    gate,
    gold,
    keys,
    page,
    promote,
    prove,
    registry,
    rollback,
    serve,
    tune,
)
from stairways.compiled_cache import VARIABLE, use_own_cache

PASSED, REFUSED, BAD_INPUT, FAILED, INTERRUPTED, CLOSED_PIPE = 0, 1, 2, 3, 130, 141
GOING_ON = ("frontier", "prove")
"""Commands that take up what stands in their folder; so does a walk-forward."""

AFTER_INTERRUPT = {
    "serve": "nobody answers now, give the same command again to go on",
    "watch": "nobody watches now, give the same command again to go on",
    "promote": "it is finished or taken back by `stairways rollback finish`",
    "rollback": "what was begun is finished by `stairways rollback finish`; see `stairways registry live`",
}

MAKE, JUDGE = "Make a model", "Judge it"
RUN = "Sign it, keep it, serve it, and go back"

THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

app = typer.Typer(
    name="stairways",
    help="Bring a trained trading policy into its behavioural band, and prove every step.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(bars.app, name="bars", rich_help_panel=MAKE)
app.add_typer(gold.app, name="gold", rich_help_panel=MAKE)
app.command("dry-run", rich_help_panel=MAKE)(dry_run.dry_run)
app.command("tune", rich_help_panel=MAKE)(tune.tune)
app.add_typer(check.app, name="check", rich_help_panel=JUDGE)
app.add_typer(gate.app, name="gate", rich_help_panel=JUDGE)
app.command("evaluate", rich_help_panel=JUDGE)(evaluate.evaluate)
app.command("backtest", rich_help_panel=JUDGE)(backtest.backtest)
app.command("cross-asset", rich_help_panel=JUDGE)(cross_asset.cross_asset)
app.command("frontier", rich_help_panel=JUDGE)(frontier.frontier)
app.command("prove", rich_help_panel=JUDGE)(prove.prove)
app.command("export", rich_help_panel=RUN)(export.export)
app.add_typer(keys.app, name="keys", rich_help_panel=RUN)
app.command("sign", rich_help_panel=RUN)(keys.sign)
app.command("verify", rich_help_panel=RUN)(keys.verify)
app.add_typer(registry.app, name="registry", rich_help_panel=RUN)
app.command("promote", rich_help_panel=RUN)(promote.promote)
app.command("waive", rich_help_panel=RUN)(promote.waive)
app.add_typer(promote.audit_app, name="audit", rich_help_panel=RUN)
app.command("serve", rich_help_panel=RUN)(serve.serve)
app.command("watch", rich_help_panel=RUN)(serve.watch)
app.add_typer(rollback.app, name="rollback", rich_help_panel=RUN)
app.add_typer(page.app, name="page", rich_help_panel=RUN)


@app.callback(invoke_without_command=True)
def _root(
    version: bool = typer.Option(False, "--version", help="Show the version and exit."),
) -> None:
    if version:
        typer.echo(f"stairways {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line: 0 passed, 1 the gate refused, 2 bad input, 3 the work failed, 130 interrupted."""
    for name in THREAD_SETTINGS:
        os.environ.setdefault(name, "1")
    try:
        use_own_cache()
    except OSError as error:
        _complain(f"no folder for compiled code: {error}; name one that you may write to by {VARIABLE}")
        sys.exit(BAD_INPUT)
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit status; every error is one line on standard error."""
    from stairways.errors import InputError, StairwaysError

    try:
        result = app(arguments, standalone_mode=False, prog_name="stairways")
    except StairwaysError as error:
        _complain(error.line())
        return BAD_INPUT if isinstance(error, InputError) else FAILED
    except (KeyboardInterrupt, typer.Abort):
        result = INTERRUPTED
    except BrokenPipeError:
        # The reader went away: what was asked for was done, and nobody listens to a complaint.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or str(error))
        _complain(f"{error.filename or 'a file'}: {reason}")
        return BAD_INPUT
    except Exception as error:
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        # A group without a command has shown its help; there is nothing to add.
        if message():
            _complain(f"{message()}; see stairways --help")
        return BAD_INPUT
    # The parser turns Ctrl-C into this status without a word.
    if result == INTERRUPTED:
        _complain(f"interrupted; {_after_interrupt(arguments)}")
    return result if isinstance(result, int) else PASSED


def _after_interrupt(arguments: list[str]) -> str:
    """Return what to do after Ctrl-C: each command goes on in its own way, or not at all."""
    command = next((word for word in arguments if not word.startswith("-")), "")
    if command == "tune":
        return "what was finished stands, add --resume to go on"
    if command in GOING_ON or (command == "backtest" and "--walk-forward" in arguments):
        return "what was finished stands, give the same command again to go on"
    return AFTER_INTERRUPT.get(command, "nothing is kept, give the same command again to start anew")


def _complain(line: str) -> None:
    typer.echo(f"stairways: {' '.join(line.split())}", err=True)
