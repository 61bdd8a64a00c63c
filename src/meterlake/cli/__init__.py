"""The command line. Commands are thin: they read options, call `meterlake.app` and render what it answers."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Final

import typer

from meterlake import __version__
from meterlake.cli import ask, bridging, bring, night, play, serve, streaming, tend, topics, users
from meterlake.settings import from_environment

if TYPE_CHECKING:
    from collections.abc import Sequence

NOT_DONE: Final = 1
WRONG_USAGE: Final = 2
INTERRUPTED: Final = 130
STOPPED: Final = "interrupted; what was not committed is not in the lake"

app = typer.Typer(
    name="meterlake",
    help="Meter readings as interval blocks in an open lake.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
COMMANDS: Final = (
    bring.demo, bring.init, bring.load, ask.history, ask.usage, ask.snapshot, ask.fleet, ask.top, ask.sql, tend.loads,
    tend.quarantine, tend.undo, tend.check, tend.compact, tend.feeds, tend.doctor, bring.simulate,
    night.batch, night.runs, night.retain,
    play.stream, bridging.bridge, streaming.stream_job, serve.serve,
)  # fmt: skip
for command in COMMANDS:
    app.command()(command)
app.add_typer(
    bring.registry_commands, name="registry", help="Customers, service points and meters, in and out."
)
app.add_typer(serve.keys_commands, name="keys", help="Keys of those who may ask and send.")
app.add_typer(topics.topics_commands, name="topics", help="Topics of a log in Kafka.")
app.add_typer(users.users_commands, name="users", help="Accounts of the people who sign in.")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"meterlake {__version__}")
        raise typer.Exit


@app.callback()
def start(
    context: typer.Context,
    lake: Annotated[
        str | None,
        typer.Option("--lake", metavar="URL", help="The lake, for any command.", show_default=False),
    ] = None,
    registry: Annotated[
        str | None,
        typer.Option("--registry", metavar="URL", help="The registry, for any command.", show_default=False),
    ] = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where in the program an error was raised.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it and end.")
    ] = False,
) -> None:
    """Meter readings as interval blocks in an open lake."""
    told = from_environment()
    context.obj = replace(told, lake=lake or told.lake, registry=registry or told.registry, debug=debug)


def run(arguments: Sequence[str]) -> int:
    """Run one command; return its exit status. Errors are one line on standard error, without ``--debug``."""
    from typer.exceptions import Abort, TyperException

    from meterlake.errors import MeterlakeError

    debug = "--debug" in arguments
    words = [word for word in arguments if word != "--debug"] or ["--help"]
    try:
        status = app([*(["--debug"] if debug else []), *words], prog_name="meterlake", standalone_mode=False)
        sys.stdout.flush()
    except TyperException as error:
        status = _usage(error)
    except (KeyboardInterrupt, Abort):
        status = _tell(STOPPED, INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads on: nothing to say
        status = NOT_DONE
    except (MeterlakeError, OSError, MemoryError) as error:
        if debug:
            raise
        status = _tell(str(error) or type(error).__name__, NOT_DONE)
    except Exception as error:
        if debug:
            raise
        status = _tell(
            f"unexpected {type(error).__name__}: {error}; run it again with --debug and report it", NOT_DONE
        )
    else:
        if status == INTERRUPTED:  # typer met the interrupt first
            status = _tell(STOPPED, INTERRUPTED)
    return int(status or 0)


def _usage(error: Exception) -> int:
    """Tell what is wrong with the words of a command."""
    message = getattr(error, "format_message", lambda: str(error))()
    context = getattr(error, "ctx", None)
    where = context.command_path if context is not None else "meterlake"
    return _tell(f"{message.rstrip('.')}; see `{where} --help`", getattr(error, "exit_code", WRONG_USAGE))


def _tell(message: str, status: int) -> int:
    typer.echo(f"meterlake: {' '.join(message.split())}", err=True)
    return status


def main() -> None:
    """Entry point of the ``meterlake`` command."""
    sys.exit(run(sys.argv[1:]))
