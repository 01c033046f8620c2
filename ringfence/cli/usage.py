"""`ringfence usage`: what left a boundary about its use, and a made-up day to see it with."""

from __future__ import annotations

import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import typer
from typer.core import TyperGroup

from ringfence.cli.models import BOUNDARY, read_key
from ringfence.cli.output import (
    JSON,
    PERSON,
    CommandError,
    Exit,
    connect,
    err,
    print_json,
    print_table,
    utc,
)
from ringfence.client import Api, route
from ringfence.usage.driver import Driver, ReplayError, Tally
from ringfence.usage.replay import plan_day

ARRIVAL_SECONDS = 90.0
"""How long the replay waits for its last request to be counted at the control plane."""

COLUMNS = {
    "requests": "REQUESTS",
    "active_users": "USERS",
    "acceptance_rate": "ACCEPTED",
    "acceptance_rate_lines": "ACCEPTED LINES",
    "reviewed_not_applied_rate": "NOT APPLIED",
    "lines_applied_net": "NET LINES",
    "ttft_p95": "TTFT P95",
    "error_rate": "ERRORS",
}
"""The figures of a split's table."""


class ShowFirst(TyperGroup):
    """`ringfence usage BOUNDARY` is `ringfence usage show BOUNDARY`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["show", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=ShowFirst,
    no_args_is_help=True,
    help="What left a boundary about its use: figures and events.",
)


@app.command("show")
def show(boundary: str = BOUNDARY, person: str | None = PERSON, as_json: bool = JSON) -> None:
    """List a boundary's requests by hour."""
    rows = connect(person).get(f"{route('boundaries', boundary)}/usage")["items"]
    if as_json:
        print_json(rows)
        return
    print_table(
        (
            *("HOUR", "GROUP", "MODEL", "ADAPTER", "FEATURE", "LANGUAGE", "IDE"),
            *("REQUESTS", "TOKENS IN", "TOKENS OUT", ""),
        ),
        [
            (
                utc(row["hour"]),
                row["group_id"],
                row["model_version"],
                row.get("adapter_id") or "",
                row["feature"],
                row["language"],
                row["ide"],
                row["requests"],
                row["input_tokens"],
                row["output_tokens"],
                "synthetic" if row["synthetic"] else "",
            )
            for row in rows
        ],
        "no use yet; ask something: ringfence chat " + boundary + " 'write a test'",
    )


@app.command("summary")
def summary(
    boundary: str = BOUNDARY,
    first: str | None = typer.Option(None, "--from", help="first day, UTC", metavar="DAY"),
    last: str | None = typer.Option(None, "--to", help="last day, UTC", metavar="DAY"),
    by: str = typer.Option("none", help="day, group, model_version, feature or language"),
    formulas: bool = typer.Option(False, "--formulas", help="show how each figure is computed"),
    person: str | None = PERSON,
    as_json: bool = JSON,
) -> None:
    """Sum up a boundary's use, by default over the last 28 days."""
    query = {"from": first, "to": last, "by": by}
    given = {name: value for name, value in query.items() if value is not None}
    found = connect(person).get(f"{route('boundaries', boundary)}/usage/summary", **given)
    if as_json:
        print_json(found)
        return
    _print_summary(found, formulas=formulas)


def _print_summary(found: Any, *, formulas: bool = False) -> None:
    err.print(
        f"{found['from']} to {found['to']}, as of {utc(found['as_of']) or 'never'},"
        f" {'final' if found['is_final'] else 'not final'}, export {found['export']}"
        + (", with SYNTHETIC use" if found["synthetic"] else ""),
        markup=False,
    )
    columns = ("METRIC", "VALUE", "OF", "UNIT", *(("FORMULA",) if formulas else ()))
    print_table(
        columns,
        [
            (
                m["label"],
                _number(m["value"], m["unit"]),
                _parts(m),
                m["unit"],
                *((m["formula"],) if formulas else ()),
            )
            for m in found["metrics"]
        ],
        "no figures",
    )
    if found["rows"]:
        _print_split(found)


def _print_split(found: Any) -> None:
    """Print the main figures of each value, one line each; the document has all of them."""
    units = {metric["key"]: metric["unit"] for metric in found["metrics"]}
    err.print("")
    print_table(
        ("BY", *COLUMNS.values(), ""),
        [
            (
                row["by"],
                *(_number(row["metrics"][key], units[key]) for key in COLUMNS),
                "synthetic" if row["synthetic"] else "",
            )
            for row in found["rows"]
        ],
        "no rows",
    )


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    if unit == "share":
        return f"{value:.1%}"
    return f"{value:.3f}" if unit == "s" and value != int(value) else f"{value:.0f}"


def _parts(metric: Any) -> str:
    numerator, denominator = metric["numerator"], metric["denominator"]
    if denominator is None:
        return ""
    return f"{denominator:.0f}" if numerator is None else f"{numerator:.0f} / {denominator:.0f}"


@app.command("export")
def export(
    boundary: str = BOUNDARY,
    format: str = typer.Option("csv", help="csv or ndjson"),
    first: str | None = typer.Option(None, "--from", help="first day, UTC", metavar="DAY"),
    last: str | None = typer.Option(None, "--to", help="last day, UTC", metavar="DAY"),
    person: str | None = PERSON,
) -> None:
    """Print what a boundary let out, cell by cell."""
    query = {"from": first, "to": last, "format": format}
    given = {name: value for name, value in query.items() if value is not None}
    text = connect(person).text(f"{route('boundaries', boundary)}/usage/export", **given)
    typer.echo(text, nl=False)


@app.command("events")
def events(
    boundary: str = BOUNDARY,
    after: int = typer.Option(0, min=0, help="only what arrived after this position"),
    limit: int = typer.Option(200, min=1, max=1000, help="at most so many"),
    person: str | None = PERSON,
    as_json: bool = JSON,
) -> None:
    """List single events, with pseudonyms, where the customer lets them out; it is recorded."""
    path = f"{route('boundaries', boundary)}/usage/events"
    page = connect(person).get(path, after=after, limit=limit)
    if as_json:
        print_json(page)
        return
    print_table(
        ("POSITION", "AT", "TYPE", "GROUP", "SUBJECT", "FEATURE", "LANGUAGE", "IDE", ""),
        [_event_line(each["position"], each["event"]) for each in page["events"]],
        _no_events(page, after),
    )
    if page["more"]:
        err.print(f"there is more: add --after {page['next_after']}", markup=False)


def _event_line(position: int, event: Any) -> tuple[Any, ...]:
    """Return one event's line; a request keeps its group in its data, a change in its envelope."""
    data = event["data"]
    return (
        position,
        utc(event["time"]),
        event["type"],
        event.get("group_id") or data["group_id"],
        event["subject"],
        data["feature"],
        data["language"],
        data["ide"],
        "synthetic" if event["synthetic"] else "",
    )


def _no_events(page: Any, after: int) -> str:
    if page["export"] == "events":
        since = utc(page["since"])
        return f"no events after {after}" if after else f"no events yet; they leave since {since}"
    return (
        f"export {page['export']}: no events leave this boundary; that is its customer's choice,"
        " in the ConfigMap usage-policy"
    )


@app.command("replay")
def replay(
    boundary: str = typer.Option(..., help="name or id of the security boundary"),
    developers: int = typer.Option(200, min=1, max=100_000, help="how many made-up developers"),
    seed: int = typer.Option(1, help="the same seed makes the same day"),
    speed: str = typer.Option("max", help="made-up seconds per second, or max"),
    model: str | None = typer.Option(None, help="model or adapter; by default as in chat"),
    key_file: list[Path] = typer.Option([], help="gateway key; repeat it for several groups"),
    person: str | None = PERSON,
    as_json: bool = JSON,
) -> None:
    """Send a made-up working day through a boundary, marked as synthetic.

    The customer must allow it: ConfigMap usage-policy in the boundary's namespace, key
    synthetic-groups, the names of the groups whose keys may.
    """
    rate = _speed(speed)
    api = connect(person)
    url = api.get(f"{route('boundaries', boundary)}/agent").get("gateway_url")
    if not url:
        raise CommandError(
            f"{boundary} has no gateway yet", Exit.BLOCKED, "install a blueprint into it first"
        )
    keys = [read_key(boundary, str(path)) for path in key_file] or [read_key(boundary, None)]
    acts = plan_day(developers, seed)
    before = _counted(api, boundary)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ringfence-replay-") as folder:
        try:
            driver = Driver(url, keys, model or _default_model(url, keys[0]), Path(folder))
            driver.check()
            err.print(f"{len(acts)} requests of {developers} made-up developers, seed {seed}")
            tally = driver.run(acts, rate, _progress(len(acts)), threading.Event())
            driver.close()
        except ReplayError as error:
            code = Exit.FORBIDDEN if error.status in (401, 403) else Exit.FAILURE
            raise CommandError(f"the gateway refuses the replay: {error}", code) from error
        except httpx2.HTTPError as error:
            raise CommandError(f"the gateway of {boundary} does not answer ({error})") from error
    seconds = time.monotonic() - started
    found = _arrived(api, boundary, before + tally.requests)
    _print_replay(tally, seconds, found, as_json=as_json)


def _print_replay(tally: Tally, seconds: float, found: Any, *, as_json: bool) -> None:
    sent = {
        "requests": tally.requests,
        "failed": tally.failed,
        "reported": tally.reported,
        "accepted": tally.accepted,
        "duplicates": tally.duplicates,
        "rejected": tally.rejected,
        "seconds": round(seconds, 1),
    }
    if as_json:
        print_json({"sent": sent, "summary": found})
        return
    err.print(" ".join(f"{name}={value}" for name, value in sent.items()), markup=False)
    _print_summary(found)


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0 or value == float("inf"):
        raise CommandError("--speed: a number above 0, or max", Exit.USAGE)
    return value


def _default_model(url: str, key: str) -> str:
    """Return the model that `chat` would use."""
    headers = {"Authorization": f"Bearer {key}"}
    answer = httpx2.get(f"{url}/v1/models", headers=headers, timeout=30, trust_env=False)
    if answer.status_code != 200:
        raise ReplayError(str(answer.json()["error"]["message"]), answer.status_code)
    names = [str(each["id"]) for each in answer.json()["data"]]
    if not names:
        raise ReplayError("this key may use no model", 403)
    return next((name for name in names if name.endswith("-style")), names[0])


def _progress(total: int) -> Any:
    """Return what tells every tenth of the way."""
    step = max(1, total // 10)

    def tell(done: int) -> None:
        if done % step == 0:
            err.print(f"{done} of {total} requests")

    return tell


def _today(api: Api, boundary: str) -> Any:
    day = datetime.now(UTC).date().isoformat()
    path = f"{route('boundaries', boundary)}/usage/summary"
    return api.get(path, **{"from": day, "to": day})


def _value(found: Any, key: str) -> float:
    return float(next(m["value"] for m in found["metrics"] if m["key"] == key))


def _counted(api: Api, boundary: str) -> float:
    return _value(_today(api, boundary), "requests")


def _arrived(api: Api, boundary: str, requests: float) -> Any:
    """Return today's summary once it counts so many requests. Raises: CommandError."""
    deadline = time.monotonic() + ARRIVAL_SECONDS
    while True:
        found = _today(api, boundary)
        if _value(found, "requests") >= requests:
            return found
        if time.monotonic() > deadline:
            raise CommandError(
                f"the control plane counts {_value(found, 'requests'):.0f} of"
                f" {requests:.0f} requests after {ARRIVAL_SECONDS:.0f} s",
                Exit.TIMED_OUT,
                "look at it again: ringfence usage summary",
            )
        time.sleep(1.0)
