"""The command `ringfence`: assembles the nouns and turns errors into messages and exit codes.

The sandbox's commands (`up`, `down`, `status`, `logs`) come by entry point, so that the command
line is installed without them where there is no sandbox.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import entry_points, version
from typing import Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from ringfence.cli import (
    access,
    audit,
    break_glass,
    certificates,
    decisions,
    installs,
    models,
    organizations,
    reports,
    runs,
    services,
    sign_in,
    takeover,
    tokens,
    usage,
    waivers,
    windows,
)
from ringfence.cli.output import CommandError, Exit, code_for, describe, err, print_json
from ringfence.client import ApiError

ORDER = (
    *("up", "status", "login", "logout", "logs", "down", "reset"),
    *("organization", "connect", "grant", "install", "run", "certificate", "takeover"),
    *("report", "audit", "access", "key", "chat", "usage"),
    *("token", "service", "waiver", "trail", "break-glass", "version"),
)
"""Commands in the order of the main job, which the help keeps."""


class InOrder(TyperGroup):
    """Lists the commands in the order of the main job; what is not named there comes last."""

    def list_commands(self, ctx: Any) -> list[str]:
        names = super().list_commands(ctx)
        return sorted(names, key=lambda n: ORDER.index(n) if n in ORDER else len(ORDER))


app = typer.Typer(
    name="ringfence",
    help="Bring the model to the data: one model stack per security boundary.",
    cls=InOrder,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Plain help: the same text on a terminal, on a pipe and in the reference page.
    rich_markup_mode=None,
)
app.add_typer(organizations.app, name="organization")
app.add_typer(access.connect_app, name="connect")
app.add_typer(access.grant_app, name="grant")
app.add_typer(installs.app, name="install")
app.add_typer(runs.app, name="run")
app.add_typer(windows.app, name="window")
app.add_typer(certificates.app, name="certificate")
app.add_typer(takeover.app, name="takeover")
app.add_typer(reports.app, name="report")
app.add_typer(audit.app, name="audit")
app.add_typer(decisions.app, name="access")
app.add_typer(models.key_app, name="key")
app.add_typer(tokens.token_app, name="token")
app.add_typer(services.app, name="service")
app.add_typer(waivers.app, name="waiver")
app.add_typer(break_glass.app, name="break-glass")
app.command("login")(sign_in.login)
app.command("logout")(sign_in.logout)
app.command("chat")(models.chat)
app.add_typer(usage.app, name="usage")


@app.command("version")
def show_version(as_json: bool = typer.Option(False, "--json", help="as JSON")) -> None:
    """Print the version."""
    if as_json:
        print_json({"client": version("ringfence")})
    else:
        typer.echo(version("ringfence"))


def complete_app() -> typer.Typer:
    """Return the application with the sandbox's commands, where the sandbox is installed."""
    known = {command.name for command in app.registered_commands}
    for entry in entry_points(group="ringfence.sandbox"):
        sandbox: typer.Typer = entry.load()
        for command in sandbox.registered_commands:
            name = command.name or getattr(command.callback, "__name__", "")
            if name not in known:
                command.name = name
                app.registered_commands.append(command)
    return app


def main() -> None:
    """Entry of the console script."""
    try:
        result = complete_app()(prog_name="ringfence", standalone_mode=False)
        sys.stdout.flush()
        sys.exit(result if isinstance(result, int) else Exit.OK)
    except CommandError as error:
        _fail(str(error), error.fix, error.code, notice=error.notice)
    except ApiError as error:
        _fail(*describe(error), code_for(error))
    except typer.Exit as error:
        sys.exit(error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(Exit.INTERRUPTED)
    except TyperException as error:
        _refuse_usage(error)
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(Exit.FAILURE)


def _refuse_usage(error: Any) -> None:
    """Say what is wrong with the command line; without arguments, show the help as click does."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "ringfence"
    message = error.format_message().replace("Value error, ", "")
    if message.startswith("Usage:") or "no arguments" in type(error).__name__.lower():
        err.print(message, markup=False)
        sys.exit(Exit.USAGE)
    _fail(message.rstrip("."), f"see `{path} --help`", Exit.USAGE)


def _fail(message: str, fix: str, code: Exit, *, notice: bool = False) -> None:
    if notice:
        err.print(message, markup=False)
    else:
        err.print(f"error: {message}", style="red", markup=False)
    if fix:
        err.print(f"  {'next' if notice else 'fix'}: {fix}", markup=False)
    sys.exit(code)


if __name__ == "__main__":
    main()
