"""The commands, put together, and how they fail."""

import re
import signal
import sys
from typing import Annotated

import typer
from typer.core import TyperGroup

from repdyn_keras.cli import analyze, compare, doctor, layers, record, report, run
from repdyn_keras.errors import Diverged, InputError, Interrupted, StorageError
from repdyn_keras.text import visible

FAILED, BAD_INPUT = 1, 2
# What shells add to the number of the signal that ended a command.
SIGNALLED = 128
# Letters that a message shows, and of what it holds without a space between them: a value or path.
MOST_LETTERS, MOST_TOGETHER = 1000, 200
# Typer brings its own copy of click in some versions and click itself in others.
USAGE_ERRORS = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


class Commands(TyperGroup):
    """The group of commands: bad input is one message and exit code 2, without a traceback."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except Interrupted as stop:
            print(f"repdyn: {stop}", file=sys.stderr)
            raise typer.Exit(SIGNALLED + stop.signal) from None
        except KeyboardInterrupt:
            print("repdyn: interrupted; what was written is whole.", file=sys.stderr)
            raise typer.Exit(SIGNALLED + signal.SIGINT) from None

    def main(self, *args, **kwargs):
        kwargs["standalone_mode"] = False
        try:
            code = super().main(*args, **kwargs)
        except (InputError, StorageError) as error:
            fail(str(error))
        except Diverged as error:
            fail(str(error), FAILED)
        except USAGE_ERRORS as error:
            message = error.format_message()
            if not message:  # no command was given, and the help has been shown
                sys.exit(BAD_INPUT)
            end = "" if message[-1] in ".?" else "."
            fail(f"{message}{end} `repdyn --help` lists commands and options.")
        except OSError as error:
            place = f" {error.filename}" if error.filename else ""
            reason = error.strerror or error
            fail(f"Cannot use{place}: {reason}. Expected a path that can be read and written to.")
        except MemoryError as error:
            text = f": {error}" if str(error) else ""
            fail(
                f"The memory is not enough{text}. Expected fewer or smaller images, or a smaller "
                "network.",
                FAILED,
            )
        sys.exit(code if isinstance(code, int) else 0)


def fail(message: str, code: int = BAD_INPUT) -> None:
    """Prints one message and exits, with the code of bad input where none is given.

    However long what came is, the message stays short, and says at its end what was expected.
    """
    message = re.sub(
        rf"\S{{{MOST_TOGETHER + 1},}}", lambda long: visible(long[0], MOST_TOGETHER), message
    )
    print(f"repdyn: error: {visible(message, MOST_LETTERS)}", file=sys.stderr)
    sys.exit(code)


def show_version(wanted: bool) -> None:
    """Prints the version and ends."""
    if wanted:
        from repdyn_keras import __version__

        print(f"repdyn-keras {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=Commands,
    name="repdyn",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Shows how the representation in every layer of a network evolves while it trains.",
)
app.command("run")(run.command)
app.command("analyze")(analyze.command)
app.command("record")(record.command)
app.command("compare")(compare.command)
app.command("report")(report.command)
app.command("layers")(layers.command)
app.command("doctor")(doctor.command)


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Shows how the representation in every layer of a network evolves while it trains."""


def main() -> None:
    """The command `repdyn`."""
    app()
