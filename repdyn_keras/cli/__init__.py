"""The command `repdyn`: its subcommands, error messages and exit codes."""

import re
import signal
import sys
from typing import Annotated, Any, NoReturn, cast

import typer
from typer.core import TyperGroup

from repdyn_keras.cli.analysis_commands import analyze, compare, figures, report, watch
from repdyn_keras.cli.export_command import export
from repdyn_keras.cli.findings_commands import findings
from repdyn_keras.cli.image_commands import images
from repdyn_keras.cli.inspection_commands import doctor, layers
from repdyn_keras.cli.run_commands import record, run
from repdyn_keras.cli.study_commands import study
from repdyn_keras.errors import Diverged, InputError, Interrupted, StorageError
from repdyn_keras.text import visible

FAILED, BAD_INPUT = 1, 2
# A command that a signal ended exits with this plus the signal's number, as in shells.
SIGNALLED = 128
# Maximum number of characters of a message, and of a word in it, such as a value or a path.
MAX_MESSAGE, MAX_WORD = 1000, 200
# Depending on its version, Typer imports click or includes a copy of it.
ClickException = cast(
    type[Exception],
    next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException"),
)
HELP = "Show how the representation in every layer of a network evolves during training."


class Commands(TyperGroup):
    """The group of commands. Invalid input gives a one-line message and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Interrupted as stop:
            print(f"repdyn: {stop}", file=sys.stderr)
            raise typer.Exit(SIGNALLED + stop.signal) from None
        except KeyboardInterrupt:
            print("repdyn: interrupted; the files written so far are intact.", file=sys.stderr)
            raise typer.Exit(SIGNALLED + signal.SIGINT) from None

    def main(self, *args: Any, **kwargs: Any) -> Any:
        kwargs["standalone_mode"] = False
        try:
            code = super().main(*args, **kwargs)
        except (InputError, StorageError) as error:
            fail(str(error))
        except Diverged as error:
            fail(str(error), FAILED)
        except ClickException as error:
            message = cast(Any, error).format_message()
            if not message:  # no command: the help has been printed
                sys.exit(BAD_INPUT)
            end = "" if message[-1] in ".?" else "."
            fail(f"{message}{end} `repdyn --help` lists commands and options.")
        except OSError as error:
            path = f" {error.filename}" if error.filename else ""
            fail(
                f"Cannot use{path}. Expected a path that can be read and written to. Received: "
                f"{error.strerror or error}."
            )
        except MemoryError as error:
            fail(
                "Not enough memory. Expected fewer or smaller images, or a smaller network. "
                f"Received: {str(error) or 'MemoryError'}.",
                FAILED,
            )
        sys.exit(code if isinstance(code, int) else 0)


def fail(message: str, code: int = BAD_INPUT) -> NoReturn:
    """Prints an error message and exits.

    Long words are shortened first, so that all parts of the message remain.

    Args:
        message: the message.
        code: the exit code.
    """
    message = re.sub(rf"\S{{{MAX_WORD + 1},}}", lambda long: visible(long[0], MAX_WORD), message)
    print(f"repdyn: error: {visible(message, MAX_MESSAGE)}", file=sys.stderr)
    sys.exit(code)


def show_version(requested: bool) -> None:
    """Prints the version and exits, if requested."""
    if requested:
        from repdyn_keras import __version__

        print(f"repdyn-keras {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=Commands,
    name="repdyn",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    run,
    analyze,
    record,
    report,
    watch,
    figures,
    compare,
    images,
    export,
    study,
    findings,
    layers,
    doctor,
):
    app.command(command.__name__)(command)


@app.callback(help=HELP)
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Options of `repdyn` itself."""


def main() -> None:
    """The command `repdyn`."""
    app()
