"""The command line `hmic`: thin over the package, one command a file."""

import sys

import typer

from ..errors import HmicError
from . import _completion, _terminal
from .compare import compare
from .compress import compress
from .demo import demo
from .evaluate import evaluate
from .export import export
from .finetune import finetune
from .models import models
from .predict import predict
from .prepare import prepare
from .render import render
from .taxonomy import taxonomy
from .train import train

app = typer.Typer(
    name="hmic",
    help="Which instruments play? Hierarchical multi-label instrument classification.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    *(demo, render, prepare, train, finetune, evaluate, compare, predict, models),
    *(export, compress, taxonomy),
):
    app.command()(_completion.with_completion(command))


@app.callback(invoke_without_command=True)
def root(
    version: bool = typer.Option(False, "--version", help="Show the version and exit."),
) -> None:
    """Which instruments play? Hierarchical multi-label instrument classification."""
    if version:
        from .. import __version__

        _terminal.say(f"hmic_keras {__version__}")
        raise typer.Exit


def main() -> None:
    """Runs the command line; a user's or the disk's fault ends with one line, exit code 2."""
    _terminal.set_up()
    try:
        app(prog_name="hmic")
    except HmicError as error:
        _terminal.error(str(error))
        sys.exit(2)
    except OSError as error:
        # A full disk or a missing permission. Without a number it is not the system's.
        if error.errno is None:
            raise
        place = f"'{error.filename}': " if error.filename else ""
        _terminal.error(f"{place}{error.strerror}")
        sys.exit(2)
    except KeyboardInterrupt:
        _terminal.error("stopped")
        sys.exit(130)
