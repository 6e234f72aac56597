"""The verbs together, and what every failure looks like: one clear line, a hint, a stable exit code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from interleave_rt.errors import BadRequestError, CancelledError, InterleaveError

from .bench import bench
from .doctor import doctor
from .eval import evaluation
from .examples import examples
from .export import export
from .options import print_error, print_json
from .pack import pack
from .run import run
from .signals import signals
from .simulate import simulate
from .train import train

# Some versions of typer carry a click of their own: the base class of a public one is the right one.
_UsageError: type[typer.BadParameter] = typer.BadParameter.__base__  # type: ignore[assignment]

app = typer.Typer(
    name="interleave-rt",
    help="Text-image sequences from a planner, a generator and a critic, on this machine.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run)
app.command()(bench)
app.command()(simulate)
app.add_typer(evaluation)
app.command()(examples)
app.command()(doctor)
app.add_typer(pack)
app.command()(export)
app.add_typer(train)


def _version(wanted: bool) -> None:
    if wanted:
        from interleave_rt import __version__

        typer.echo(f"interleave-rt {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def execute(args: Sequence[str]) -> int:
    """Runs the command line; returns the exit code. `Interrupted` passes through where a verb has nothing to save."""
    as_json = "--json" in args
    try:
        code = app(list(args) or ["--help"], standalone_mode=False)
    except _UsageError as error:
        hint = f"see {error.ctx.command_path} --help" if error.ctx else None
        said = error.format_message()
        if error.ctx and error.ctx.info_name == "run" and "unexpected extra argument" in said:
            hint = f'put the request in quotes: {error.ctx.command_path} "Draw a snowman"'
        return _fail(BadRequestError(said[:1].lower() + said[1:], hint=hint), as_json)
    except InterleaveError as error:
        return _fail(error, as_json)
    return code if isinstance(code, int) else 0


def _fail(error: InterleaveError, as_json: bool) -> int:
    if as_json:
        print_json({"outcome": "failed", "error": error.as_dict()})
    code = print_error(error)
    # The class says 130, Ctrl-C; another signal has another number.
    return (signals.exit_code or code) if isinstance(error, CancelledError) else code
