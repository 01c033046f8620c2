"""`ringfence up | down | status | logs | reset`: the sandbox from the command line.

Loaded by the command line through the entry point `ringfence.sandbox`, and by the demo.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any

import httpx2
import typer
from rich.console import Console

from sandbox import fault_command
from sandbox.customer_trail import copy_trail
from sandbox.home import Home, HomeError, write_private
from sandbox.host_packages import missing_commands
from sandbox.isolation import namespaces_available
from sandbox.people import PEOPLE, token_name
from sandbox.rehearsal.takeover import RehearsalError, rehearse_takeover
from sandbox.supervisor import log_tail
from sandbox.toolchain import ROOT

app = typer.Typer()
err = Console(stderr=True, highlight=False, soft_wrap=True)
UP_SECONDS = 180.0
DOWN_SECONDS = 120.0
LEFTOVER_SECONDS = 30.0


class SandboxError(RuntimeError):
    """The sandbox did not start or did not stop; the message has the cause."""


def alive(home: Home, pid: int | None) -> bool:
    """Tell whether a process of that id runs and is the supervisor of this home."""
    if not pid:
        return False
    process = Path("/proc") / str(pid)
    try:
        command = (process / "cmdline").read_bytes()
        return b"sandbox.supervisor" in command and _works_in(home, pid)
    except OSError:
        return False


def _works_in(home: Home, pid: int) -> bool:
    """Tell whether a process of that id runs in this home: ids are used again."""
    try:
        folder = Path(os.readlink(f"/proc/{pid}/cwd"))
    except OSError:
        return False
    return folder.is_relative_to(home.root)


def start(
    home: Home, on_change: Callable[[dict[str, Any]], None], time_scale: float | None = None
) -> dict[str, Any]:
    """Start the sandbox unless it runs, and return its record once it is ready.

    `on_change` gets the record each time it changes. `time_scale` multiplies the emulated cloud's
    latencies (1 is AWS's own); None takes the environment's or the default.
    Raises: SandboxError, also when it runs already at another scale.
    """
    try:
        home.create()
    except HomeError as error:
        raise SandboxError(str(error)) from error
    with _lock(home):
        record = home.read_record()
        if record is None or not alive(home, record.get("pid")):
            _require_host()
            _await_leftovers(home, record)
            home.record_file.unlink(missing_ok=True)
            _spawn(home, time_scale)
        elif time_scale not in (None, record["facts"]["time_scale"]):
            raise SandboxError(
                f"the sandbox runs at time scale {record['facts']['time_scale']:g}; "
                "stop it first: ringfence down"
            )
    deadline = time.monotonic() + UP_SECONDS
    seen: dict[str, Any] | None = None
    while time.monotonic() < deadline:
        record = home.read_record()
        if record is not None and record != seen:
            seen = record
            on_change(record)
            if record["state"] == "ready":
                write_context(home, record)
                return record
            if record["state"] in ("failed", "stopped"):
                raise SandboxError(record["error"] or "the sandbox stopped while starting")
        elif record is None or not alive(home, record["pid"]):
            tail = log_tail(home.logs / "supervisor.log")
            raise SandboxError(f"the supervisor ended while starting:\n{tail}")
        time.sleep(0.05)
    raise SandboxError(f"not ready after {UP_SECONDS:.0f} s; see: ringfence status")


@contextmanager
def _lock(home: Home) -> Iterator[None]:
    """Let one `up` at a time decide whether a supervisor must be started."""
    with (home.root / ".up.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _require_host() -> None:
    """Refuse a host that cannot carry the sandbox. Raises: SandboxError with what to do."""
    if lacking := missing_commands():
        raise SandboxError(f"this host lacks {', '.join(lacking)}; run: make prepare")
    if not namespaces_available():
        raise SandboxError(
            "this host gives no user namespaces, and an emulated cluster is one: allow them "
            "(sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, "
            "kernel.apparmor_restrict_unprivileged_userns; in a container: its seccomp profile)"
        )


def _await_leftovers(home: Home, record: dict[str, Any] | None) -> None:
    """Wait until the parts of a killed supervisor have ended: they hold ports and data."""
    pids = [part["pid"] for part in record["parts"] if part["pid"]] if record else []
    deadline = time.monotonic() + LEFTOVER_SECONDS
    while left := [pid for pid in pids if _works_in(home, pid)]:
        if time.monotonic() > deadline:
            raise SandboxError(f"processes of an earlier start still run: {left}; end them first")
        time.sleep(0.05)


def _spawn(home: Home, time_scale: float | None) -> None:
    environment = {**os.environ, "RINGFENCE_HOME": str(home.root), "PYTHONPATH": str(ROOT)}
    if time_scale is not None:
        environment["RINGFENCE_TIME_SCALE"] = str(time_scale)
    path = home.logs / "supervisor.log"
    with path.open("ab") as log:
        begun = log.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "sandbox.supervisor"],
            env=environment,
            cwd=home.root,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + 30
    while not home.record_file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            tail = log_tail(path, start=begun).removeprefix("error: ")
            raise SandboxError(tail or f"the supervisor did not start; its log: {path}")
        time.sleep(0.05)


def write_context(home: Home, record: dict[str, Any]) -> None:
    """Write what the command line needs: the API's address and the demo people's tokens."""
    facts = record["facts"]
    context = {
        "api_url": facts["api_url"],
        "default_person": PEOPLE[0].subject,
        "organization": "acme",
        "people": {
            person.subject: {"token": home.secret(token_name(person.subject)), "role": person.role}
            for person in PEOPLE
        },
        "aws": {"endpoint_url": facts["aws_endpoint_url"], "emulated": True},
    }
    write_private(home.context_file, json.dumps(context, indent=2))


def stop(home: Home) -> bool:
    """End the sandbox; return False when none ran. Raises: SandboxError."""
    record = home.read_record()
    pid = record.get("pid") if record else None
    if not pid or not alive(home, pid):
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + DOWN_SECONDS
    while alive(home, pid):
        if time.monotonic() > deadline:
            raise SandboxError(f"the supervisor {pid} did not end; its log: {home.logs}")
        time.sleep(0.05)
    return True


def describe(record: dict[str, Any]) -> str:
    """Return one line with every part and its state."""
    signs = {"running": "✓", "done": "✓", "failed": "✗", "restarting": "✗"}
    return "  ".join(f"{part['name']} {signs.get(part['state'], '·')}" for part in record["parts"])


@app.command()
def up(
    time_scale: float | None = typer.Option(
        None, min=0.001, max=1, help="scale of the emulated cloud's latencies; 0.01 by default"
    ),
) -> None:
    """Start the sandbox (harmless when it runs already) and leave it running."""
    home = Home.current()
    shown: set[str] = set()

    def show(record: dict[str, Any]) -> None:
        for part in record["parts"]:
            if part["state"] in ("running", "done") and part["name"] not in shown:
                shown.add(part["name"])
                label = "  (emulated)" if part["emulated"] else ""
                err.print(f"{part['name']:<16} ✓ {part['seconds']:5.1f} s{label}")

    try:
        record = start(home, show, time_scale)
    except SandboxError as error:
        err.print(f"error: {error}", style="red", markup=False)
        raise typer.Exit(1) from error
    facts = record["facts"]
    err.print(f"emulated: {facts['emulated']}. real: {facts['real']}.")
    err.print(f"API {facts['api_url']}   next: ringfence organization apply FILE")


@app.command()
def down() -> None:
    """Stop the sandbox; its data stays for the next start."""
    try:
        stopped = stop(Home.current())
    except SandboxError as error:
        err.print(f"error: {error}", style="red", markup=False)
        raise typer.Exit(1) from error
    err.print("stopped; data kept" if stopped else "no sandbox is running")


@app.command()
def reset(
    yes: bool = typer.Option(False, "--yes", help="do not ask"),
) -> None:
    """Stop the sandbox and erase its data: organizations, installs, emulated account, keys."""
    home = Home.current()
    if not yes:
        typer.confirm(f"erase everything in {home.root}?", abort=True)
    try:
        stop(home)
    except SandboxError as error:
        err.print(f"error: {error}", style="red", markup=False)
        raise typer.Exit(1) from error
    for folder in (home.root, home.run):
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            err.print(f"error: {folder} could not be erased whole", style="red", markup=False)
            raise typer.Exit(1)
    err.print("erased; start anew: ringfence up")


@app.command()
def status(as_json: bool = typer.Option(False, "--json", help="as JSON")) -> None:
    """Show the sandbox's parts, their addresses and restarts."""
    home = Home.current()
    record = home.read_record()
    running = record is not None and alive(home, record.get("pid"))
    if record is None or not running:
        if as_json:
            typer.echo(json.dumps({"state": "stopped", "parts": []}))
        err.print("no sandbox is running; start it: ringfence up")
        raise typer.Exit(1)
    if as_json:
        typer.echo(json.dumps(record, indent=2))
        return
    _print_parts(record)
    if password := record["facts"].get("identity_provider_password_file"):
        typer.echo(f"{'':<14} password {password}")
    for cluster in _clusters(record):
        state = "running" if cluster["running"] else "starting"
        where = home.data / "aws" / "clusters" / cluster["name"] / "logs"
        typer.echo(f"{'cluster':<14} {state:<11} {cluster['name']:<24} emulated")
        if not cluster["running"]:
            typer.echo(f"{'':<14} log {where}")


def _clusters(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the emulated clusters as their account tells them; none while it is away."""
    try:
        answer = httpx2.get(
            f"{record['facts']['aws_endpoint_url']}/_rehearsal/health", timeout=2, trust_env=False
        )
        found: list[dict[str, Any]] = answer.json()["clusters"]
    except (httpx2.HTTPError, ValueError, KeyError):
        return []
    return found


def _print_parts(record: dict[str, Any]) -> None:
    for part in record["parts"]:
        if part["task"]:
            continue
        restarts = (
            f"restarted {part['restarts']}x; {part['last_exit']}" if part["last_exit"] else ""
        )
        label = "emulated" if part["emulated"] else ""
        line = f"{part['name']:<14} {part['state']:<11} {part['address']:<24} {label:<9} {restarts}"
        typer.echo(line.rstrip())
        if part["restarts"] or part["state"] in ("restarting", "failed"):
            typer.echo(f"{'':<14} log {part['log']}")


@app.command()
def trail(
    folder: Path = typer.Argument(help="where to put the files"),
    account: str = typer.Option("111122223333", help="the emulated account"),
    region: str = typer.Option("eu-central-1", help="region of the trail's bucket"),
) -> None:
    """Copy the emulated account's CloudTrail files, as the customer's auditor."""
    home = Home.current()
    record = home.read_record()
    if record is None or not alive(home, record.get("pid")):
        err.print("no sandbox is running; start it: ringfence up")
        raise typer.Exit(1)
    count = copy_trail(
        folder,
        endpoint_url=record["facts"]["aws_endpoint_url"],
        credentials_file=home.secrets / "aws" / "customer-auditor.json",
        account=account,
        region=region,
    )
    err.print(
        f"{count} files in {folder}; hand them over: ringfence report upload-trail {folder}"
        " --boundary BOUNDARY",
        markup=False,
    )


class Rehearsed(StrEnum):
    """What can be rehearsed."""

    TAKEOVER = "takeover"


@app.command()
def rehearse(
    what: Rehearsed = typer.Argument(help="takeover: update and delete with the kit alone"),
    install: str = typer.Argument(help="id of the install; it is left alone", metavar="INSTALL"),
    person: str = typer.Option("max@acme.test", "--as", help="who fetches the kit"),
    region: str = typer.Option("eu-central-1", help="region of the install"),
    as_json: bool = typer.Option(False, "--json", help="as JSON"),
) -> None:
    """Rehearse a take-over: on a copy of the emulated account, with no control plane in reach."""
    home = Home.current()
    record = home.read_record()
    if record is None or not alive(home, record.get("pid")):
        err.print("no sandbox is running; start it: ringfence up")
        raise typer.Exit(1)
    try:
        result = rehearse_takeover(home, record, install, person, region)
    except RehearsalError as error:
        err.print(f"error: rehearsal: {error}", style="red", markup=False)
        raise typer.Exit(1) from error
    if as_json:
        typer.echo(json.dumps(result, indent=2))
    err.print("rehearsal: updated and deleted with the kit alone; the install itself is as it was")


@app.command()
def logs(
    part: str = typer.Argument(help="name of a part; see ringfence status"),
    lines: int = typer.Option(50, help="how many lines"),
) -> None:
    """Print the end of a part's log."""
    home = Home.current()
    path = home.logs / f"{part}.log"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in home.logs.glob("*.log")))
        err.print(f"error: no log of {part!r}; there are: {known or 'none'}", style="red")
        raise typer.Exit(2)
    typer.echo(log_tail(path, lines))


app.command()(fault_command.faults)
