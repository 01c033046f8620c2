"""`ringfence login` and `ringfence logout`: an API token of one's own, for twelve hours."""

from __future__ import annotations

import os
import webbrowser

import typer

from ringfence.cli.output import JSON, PERSON, CommandError, Exit, err, print_json
from ringfence.client import Api, ApiError, Context, ContextError, route
from ringfence.client.context import (
    Login,
    context_file,
    find_login,
    forget_login,
    read_context_file,
    require_same_control_plane,
    save_login,
)
from ringfence.client.sign_in import Provider, SignInError, by_browser, by_device


def login(
    api: str | None = typer.Option(
        None, "--api", metavar="URL", help="the control plane; by default that of the context"
    ),
    organization: str | None = typer.Option(
        None, help="whose identity provider to use; by default that of the last login"
    ),
    device: bool = typer.Option(
        False, "--device", help="show a code to type in a browser on another device"
    ),
    no_open: bool = typer.Option(False, "--no-open", help="print the address, open no browser"),
    as_json: bool = JSON,
) -> None:
    """Sign in with your organization's identity provider and keep the token in the context."""
    known = _known_context()
    url = (api or os.environ.get("RINGFENCE_API_URL") or known.get("api_url") or "").rstrip("/")
    name = organization or known.get("organization") or ""
    if not url:
        raise CommandError("--api: no control plane is known", Exit.USAGE, "give its address")
    if not name:
        raise CommandError(
            "--organization: no organization is known", Exit.USAGE, "give its name, as in its file"
        )
    try:
        require_same_control_plane(url)
        client = Api(Context(url, "", "nobody"))
        provider = Provider.of(client.get(route("sign-in", "providers", name)))
        token = _by_device(provider) if device else _by_browser(provider, no_open)
        issued = client.post("/v1/sign-in/exchange", {"organization": name, "id_token": token})
        person, expires_at = issued["subject"], issued["expires_at"]
        save_login(url, Login(person, issued["token"], issued["token_id"], expires_at, name))
    except SignInError as error:
        raise CommandError(str(error), Exit.FORBIDDEN, "try again: ringfence login") from error
    except ContextError as error:
        raise CommandError(str(error), Exit.USAGE) from error
    if as_json:
        print_json({"person": person, "expires_at": expires_at, "token_id": issued["token_id"]})
    err.print(
        f"signed in as {issued['display']} ({person}) until {expires_at}; "
        f"the token is in {context_file()}",
        markup=False,
    )


def logout(person: str | None = PERSON) -> None:
    """Revoke the token of your login and take it out of the context."""
    try:
        found = find_login(person)
        url = str(read_context_file()["api_url"])
    except (ContextError, KeyError) as error:
        raise CommandError(str(error), Exit.USAGE, "see: ringfence login") from error
    failure = None
    try:
        Api(Context(url, found.token, found.person)).post(route("tokens", found.token_id, "revoke"))
    except ApiError as error:
        # Not known any more: expired or revoked, which is what was asked for.
        failure = None if error.status == 401 else error
    forget_login(found.person)
    if failure is not None:
        raise CommandError(
            f"the token is out of the context, but was not revoked: {failure}",
            Exit.FAILURE,
            f"it ends at {found.expires_at}; an administrator can revoke {found.token_id}",
        ) from failure
    err.print(f"signed out: {found.person}", markup=False)


def _known_context() -> dict[str, str]:
    """Return the context's document, or nothing where there is none yet."""
    if not context_file().exists():
        return {}
    try:
        return read_context_file()
    except ContextError as error:
        raise CommandError(str(error), Exit.USAGE) from error


def _by_browser(provider: Provider, no_open: bool) -> str:
    def show(url: str) -> None:
        err.print(
            f"sign in at {provider.issuer}; if no browser opens, open:\n  {url}", markup=False
        )
        if not no_open:
            webbrowser.open(url)

    return by_browser(provider, show)


def _by_device(provider: Provider) -> str:
    def show(url: str, code: str) -> None:
        err.print(f"open {url}\nand check that it shows the code {code}", markup=False)

    return by_device(provider, show)
