"""The `nasforge` program: its commands, its exit codes, and how errors look.

Heavy libraries are imported by the commands that need them, so `nasforge list` starts at once.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer

from nasforge.cli.bench import bench
from nasforge.cli.classify import classify
from nasforge.cli.compare import compare
from nasforge.cli.doctor import doctor
from nasforge.cli.export import export
from nasforge.cli.list import list_command
from nasforge.cli.measure import measure
from nasforge.cli.predict import predict
from nasforge.cli.profile import profile
from nasforge.cli.report import report
from nasforge.cli.resume import resume
from nasforge.cli.search import search
from nasforge.cli.show import show
from nasforge.cli.sweep import sweep
from nasforge.cli.train import train
from nasforge.errors import NasforgeError

INTERRUPTED = 130

app = typer.Typer(
    name="nasforge",
    help="Neural architecture search: spaces as graphs, every search family, measured hardware.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"nasforge {version('nasforge')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Neural architecture search: spaces as graphs, every search family, measured hardware."""


for name, command in {
    "search": search,
    "sweep": sweep,
    "resume": resume,
    "list": list_command,
    "show": show,
    "measure": measure,
    "predict": predict,
    "profile": profile,
    "train": train,
    "classify": classify,
    "export": export,
    "report": report,
    "compare": compare,
    "bench": bench,
    "doctor": doctor,
}.items():
    extra = {"allow_extra_args": True, "ignore_unknown_options": True} if command is show else None
    app.command(name, context_settings=extra)(command)  # type: ignore[type-var]  # functions of different signatures


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code: 0 fine, 1 failed, 2 bad usage, 3 limit missed, 130 interrupted.

    Errors are one sentence on standard error; `--debug`, anywhere, adds the traceback.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    try:
        result = app(given, prog_name="nasforge", standalone_mode=False)
    except typer.TyperException as error:
        return _usage(error, debug)
    except (typer.Abort, KeyboardInterrupt):
        return _fail("interrupted.", INTERRUPTED, debug)
    except NasforgeError as error:
        return _fail(str(error), error.exit_code, debug)
    except BrokenPipeError:
        return 1
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        return _fail(f"the system refused: {error.strerror or error}{where}.", 1, debug)
    except Exception as error:  # noqa: BLE001 - the last place that can turn a defect into one sentence
        return _fail(f"unexpected {type(error).__name__}: {error}; run again with --debug and report it.", 1, debug)
    return result if isinstance(result, int) else 0


def _usage(error: typer.TyperException, debug: bool) -> int:
    """Say what the argument parser found wrong; help asked for by giving no arguments is no error."""
    message = str(getattr(error, "message", "") or error)
    if type(error).__name__ == "NoArgsIsHelpError":
        print(message)
        return 0
    formatted = getattr(error, "format_message", None)
    return _fail(f"{formatted() if formatted else message} See `nasforge --help`.", 2, debug)


def _fail(sentence: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    one_line = " ".join(sentence.split())
    print(f"nasforge: {one_line}", file=sys.stderr)
    return code
