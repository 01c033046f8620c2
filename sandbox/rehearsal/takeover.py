"""`ringfence rehearse takeover INSTALL`: update and delete an install with nothing but its kit.

Run by the sandbox's command line. The kit comes from the running control plane by the same commands
a customer uses; everything after that happens in `sandbox.rehearsal.alone`, in a network of its own
where no control plane exists, on a copy of the emulated account. The install itself is left alone.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sandbox.demo.customer_side import Customer
from sandbox.home import Home, write_private
from sandbox.isolation import dies_with_parent
from sandbox.toolchain import ROOT

ALONE_SECONDS = 600
NOT_COPIED = ("clusters", "trail-spool", ".*")
"""Clusters start empty in the copy: their stores cannot be copied while they run. Files that begin
with a dot are being written."""
PASSED_ON = ("PATH", "HOME", "XDG_CACHE_HOME", "TMPDIR")
"""Where the toolchain is found, and nothing that leads to a control plane."""


class RehearsalError(RuntimeError):
    """The rehearsal did not succeed; the message has the step and its last words."""


def rehearse_takeover(
    home: Home, record: dict[str, Any], install: str, person: str, region: str
) -> dict[str, Any]:
    """Rehearse and return what was seen, step by step. Raises: RehearsalError."""
    with _folder() as folder:
        kit = folder / "kit"
        _kit(home, install, person, kit, folder)
        manifest = json.loads(_verify(home, record, kit, region))["manifest"]
        _ringfence(home, "takeover", "unlock", str(kit), "--key", str(folder / "key.pem"))
        _copy_account(home, folder / "account")
        task = {
            "kit": str(kit),
            "account": str(folder / "account"),
            "plugins": str(home.data / "pulumi-plugins"),
            "install_id": manifest["install_id"],
            "boundary": manifest["boundary"],
            "cluster": manifest["cluster"],
            "host": manifest["host"],
            "reach": json.loads((kit / "inputs.json").read_text())["reach"],
            "system_namespace": json.loads((kit / "kit.json").read_text())["system_namespace"],
            "region": manifest["region"],
            "account_id": manifest["account"],
            "control_plane": record["facts"]["api_url"],
            "time_scale": record["facts"]["time_scale"],
        }
        write_private(folder / "task.json", json.dumps(task, indent=2))
        _alone(folder)
        # What was used is still what was signed.
        _verify(home, record, kit, region)
        found: dict[str, Any] = json.loads((folder / "result.json").read_text())
        return {**found, "rehearsal": True, "install_id": install, "files": len(manifest["files"])}


@contextmanager
def _folder() -> Iterator[Path]:
    """Give a private folder with a short path, for sockets, and remove it."""
    folder = Path(tempfile.mkdtemp(prefix="rf-th-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _kit(home: Home, install: str, person: str, kit: Path, folder: Path) -> None:
    """Fetch the kit as the customer does, sealed to a key made for it."""
    _ringfence(home, "takeover", "key", str(folder / "key.pem"))
    _say("kit", "fetched from the control plane, sealed to the customer's key")
    _ringfence(
        home,
        *("install", "takeover", install, "--to", str(kit), "--as", person),
        *("--public-key", str(folder / "key.pem.pub")),
    )


def _verify(home: Home, record: dict[str, Any], kit: Path, region: str) -> str:
    """Verify the kit against the pin in the customer's account; return the verdict."""
    boundary = json.loads((kit / "inputs.json").read_text())["boundary"]
    customer = Customer.of(home, record["facts"]["aws_endpoint_url"], region)
    pin = customer.pinned_key(boundary)
    verdict = _ringfence(home, "takeover", "verify", str(kit), "--pin", pin, "--json")
    _say("verify", f"signed by {pin}, the pin in the customer's account")
    return verdict


def _ringfence(home: Home, *arguments: str) -> str:
    """Run one of our commands and return what it printed. Raises: RehearsalError."""
    done = subprocess.run(
        [sys.executable, "-m", "ringfence.cli.main", *arguments],
        env={**os.environ, "RINGFENCE_HOME": str(home.root), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RehearsalError(f"ringfence {arguments[0]} {arguments[1]}: {done.stderr.strip()}")
    return done.stdout


def _copy_account(home: Home, target: Path) -> None:
    """Copy the emulated account's store and the customer's keys, while it goes on.

    Its journal is only appended to, and a torn last line is cut off when it is played back.
    """
    target.mkdir(mode=0o700)
    shutil.copytree(home.data / "aws", target / "data", ignore=shutil.ignore_patterns(*NOT_COPIED))
    shutil.copytree(home.secrets / "aws", target / "secrets" / "aws")
    (target / "run").mkdir(mode=0o700)
    config = json.loads((home.secrets / "aws-config.json").read_text())
    config |= {
        "unix_socket": str(target / "run" / "gate.sock"),
        "data_dir": str(target / "data"),
        "run_dir": str(target / "run"),
        "secrets_dir": str(target / "secrets"),
        "api_socket": None,
        "cluster_owner_pid": None,
    }
    write_private(target / "config.json", json.dumps(config, indent=2))


def _alone(folder: Path) -> None:
    """Run the rest in a network that holds nothing but its own loopback."""
    script = 'ip link set lo up && exec "$1" -m sandbox.rehearsal.alone "$2"'
    command = ["unshare", "-Urn", "--kill-child", "sh", "-c", script]
    process = subprocess.Popen(
        dies_with_parent([*command, "sh", sys.executable, str(folder)]),
        env={
            **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
            "PYTHONPATH": str(ROOT),
        },
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _, words = process.communicate(timeout=ALONE_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise RehearsalError(f"not finished within {ALONE_SECONDS} s") from error
    finally:
        process.kill()
        process.wait()
    if process.returncode != 0:
        raise RehearsalError(words.strip()[-3000:])


def _say(step: str, text: str) -> None:
    print(f"rehearsal  {step:<8} {text}", file=sys.stderr, flush=True)
