"""The command `ringfence`: assembles the nouns and turns errors into messages and exit codes.

The sandbox's commands (`up`, `down`, `status`, `logs`) come by entry point, so that the command
line is installed without them where there is no sandbox.
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points, version

import click
import typer

from ringfence.cli import access, certificates, installs, models, organizations, runs
from ringfence.cli.output import CommandError, Exit, code_for, err, print_json
from ringfence.client import ApiError

app = typer.Typer(
    name="ringfence",
    help="Bring the model to the data: one model stack per security boundary.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(organizations.app, name="organization")
app.add_typer(access.connect_app, name="connect")
app.add_typer(access.grant_app, name="grant")
app.add_typer(installs.app, name="install")
app.add_typer(runs.app, name="run")
app.add_typer(certificates.app, name="certificate")
app.add_typer(models.key_app, name="key")
app.command("chat")(models.chat)
app.command("usage")(models.usage)


@app.command("version")
def show_version(as_json: bool = typer.Option(False, "--json", help="as JSON")) -> None:
    """Print the version."""
    if as_json:
        print_json({"client": version("ringfence")})
    else:
        typer.echo(version("ringfence"))


def _add_sandbox_commands() -> None:
    for entry in entry_points(group="ringfence.sandbox"):
        sandbox: typer.Typer = entry.load()
        app.registered_commands.extend(sandbox.registered_commands)


def main() -> None:
    """Entry of the console script."""
    _add_sandbox_commands()
    try:
        result = app(standalone_mode=False)
        sys.exit(result if isinstance(result, int) else Exit.OK)
    except CommandError as error:
        _fail(str(error), error.fix, error.code)
    except ApiError as error:
        _fail(str(error), str(error.body.get("fix") or ""), code_for(error))
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.exceptions.Abort:
        sys.exit(Exit.INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(Exit.USAGE)
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)


def _fail(message: str, fix: str, code: Exit) -> None:
    err.print(f"error: {message}", style="red", markup=False)
    if fix:
        err.print(f"  fix: {fix}", markup=False)
    sys.exit(code)


if __name__ == "__main__":
    main()
