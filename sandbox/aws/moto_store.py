"""moto as the store of networks, buckets, keys and roles, with a journal so that it survives.

moto keeps everything in memory. Each call that changes something is written to a journal with the
seed of moto's random source and played back at start, so that ids come back the same. What does
not come back: creation times (they become the restart's) and key material of KMS.
The gate calls it after it has allowed a call; nothing else reaches moto.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import logging
import os
import secrets
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode

os.environ.setdefault("MOTO_IAM_LOAD_MANAGED_POLICIES", "false")

from moto.backends import get_backend
from moto.ec2.models.nat_gateways import NatGatewayBackend
from moto.ec2.utils import generic_filter, is_tag_filter
from moto.iam.access_control import PermissionResult
from moto.moto_api._internal import mock_random
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import FakeBucket

from sandbox.aws.files import write_private
from sandbox.aws.messages import Response

# moto reads bucket policies without their conditions and would refuse what the gate has allowed.
FakeBucket.get_permission = lambda self, action, resource: PermissionResult.NEUTRAL
_every_nat_gateway = NatGatewayBackend.describe_nat_gateways


def _nat_gateways(self: Any, filters: Any, nat_gateway_ids: list[str] | None) -> list[Any]:
    """List NAT gateways by their tags too: moto drops such a filter and shows a neighbour's."""
    by_tag = {name: values for name, values in (filters or {}).items() if is_tag_filter(name)}
    found: list[Any] = generic_filter(by_tag, _every_nat_gateway(self, filters, nat_gateway_ids))
    return found


NatGatewayBackend.describe_nat_gateways = _nat_gateways
log = logging.getLogger("sandbox.aws.moto")
_INLINE_BODY = 64 * 1024


@dataclass(frozen=True)
class StoreCall:
    """What is sent to moto: already authorized, unsigned, body decoded."""

    account: str
    region: str
    service: str
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class MotoStore:
    """Send calls to moto's backends, one at a time, and remember those that change something."""

    def __init__(self, data_dir: Path) -> None:
        """Open the journal in `journal.jsonl` and play it back."""
        self._app = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.RLock()
        self._made: set[tuple[str, str, str]] = set()
        self._bodies = data_dir / "bodies"
        self._bodies.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = data_dir / "journal.jsonl"
        self.replayed = self._replay(path)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._journal = os.fdopen(descriptor, "w")

    def send(self, call: StoreCall, *, record: bool) -> Response:
        """Run one call; `record` marks a change that must survive a restart."""
        with self._lock:
            self._ensure_backend(call)
            if not record:
                return self._dispatch(call)
            seed = secrets.randbits(63)
            mock_random.seed(seed)
            response = self._dispatch(call)
            if response.status < 400:
                self._write(call, seed)
            return response

    def query(
        self, account: str, region: str, service: str, action: str, **params: Any
    ) -> Response:
        """Run one call of a form protocol (iam), as our own services need them."""
        form = {"Action": action, "Version": "2010-05-08", **_flatten(params)}
        headers = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
        body = urlencode(form).encode()
        call = StoreCall(account, region, service, "POST", "/", headers, body)
        return self.send(call, record=not action.startswith(("Get", "List")))

    def lock(self) -> threading.RLock:
        """Give the lock for reading several backend objects consistently."""
        return self._lock

    def close(self) -> None:
        """Close the journal."""
        with self._lock:
            self._journal.close()

    def _ensure_backend(self, call: StoreCall) -> None:
        """Make a backend before its first call, always with the same ids.

        A new EC2 backend brings a default network; made inside a recorded call it would use up the
        call's random numbers, and the playback would give other ids.
        """
        place = (call.service, call.account, call.region)
        if place not in self._made:
            self._made.add(place)
            # The application of a service makes a backend of its own when it is first used.
            self._app.get_application(_environ(call))
            mock_random.seed("/".join(place))
            backend(*place)

    def _dispatch(self, call: StoreCall) -> Response:
        """Run moto's WSGI application on a call."""
        captured: dict[str, Any] = {}

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            captured["status"] = int(status.split()[0])
            captured["headers"] = dict(headers)

        chunks: Iterable[bytes] = self._app(_environ(call), start)
        body = b"".join(chunks)
        return Response(captured["status"], captured["headers"], body)

    def _write(self, call: StoreCall, seed: int) -> None:
        """Append a change to the journal; a large body goes to a file named by its hash."""
        entry: dict[str, Any] = {
            "seed": seed, "account": call.account, "region": call.region,
            "service": call.service, "method": call.method, "target": call.target,
            "headers": call.headers,
        }  # fmt: skip
        if len(call.body) > _INLINE_BODY:
            digest = hashlib.sha256(call.body).hexdigest()
            write_private(self._bodies / digest, call.body)
            entry["body_file"] = digest
        else:
            entry["body"] = base64.b64encode(call.body).decode()
        self._journal.write(json.dumps(entry) + "\n")
        self._journal.flush()
        os.fsync(self._journal.fileno())

    def _replay(self, path: Path) -> int:
        """Play the journal back; a torn last line (a crash) is cut off."""
        if not path.exists():
            return 0
        count = good = 0
        with path.open("rb") as file:
            for line in file:
                try:
                    entry = json.loads(line)
                except ValueError:
                    log.warning("journal: the last line is torn and was cut off")
                    break
                self._replay_one(entry)
                count += 1
                good += len(line)
        if good != path.stat().st_size:
            os.truncate(path, good)
        return count

    def _replay_one(self, entry: dict[str, Any]) -> None:
        """Play one change back with its own seed."""
        body = (
            (self._bodies / entry["body_file"]).read_bytes()
            if "body_file" in entry
            else base64.b64decode(entry["body"])
        )
        names = ("account", "region", "service", "method", "target", "headers")
        call = StoreCall(**{name: entry[name] for name in names}, body=body)
        self._ensure_backend(call)
        mock_random.seed(entry["seed"])
        response = self._dispatch(call)
        if response.status >= 400:
            log.error("journal: %s %s no longer works", entry["service"], entry["method"])


def _environ(call: StoreCall) -> dict[str, Any]:
    """Write a call as WSGI does, signed by nobody: moto only reads service and region of it."""
    path, _, query = call.target.partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": call.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote(path, encoding="latin-1"),
        "RAW_URI": call.target,
        "REQUEST_URI": call.target,
        "QUERY_STRING": query,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(call.body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "CONTENT_LENGTH": str(len(call.body)),
        "HTTP_X_MOTO_ACCOUNT_ID": call.account,
        "HTTP_AUTHORIZATION": (
            f"AWS4-HMAC-SHA256 Credential=AKIAREHEARSAL/20200101/{call.region}/{call.service}"
            "/aws4_request, SignedHeaders=host, Signature=0"
        ),
    }
    for name, value in call.headers.items():
        key = name.upper().replace("-", "_")
        environ["CONTENT_TYPE" if key == "CONTENT_TYPE" else f"HTTP_{key}"] = value
    return environ


def backend(service: str, account: str, region: str) -> Any:
    """Give moto's backend of a service; global services live in the partition `aws`."""
    return get_backend(service)[account]["aws" if service in ("iam", "s3") else region]


def bucket_owner(bucket: str) -> str | None:
    """Tell which account owns a bucket, None where no account does."""
    found = get_backend("s3").bucket_accounts.get(bucket)
    return str(found[1]) if found else None


def _flatten(params: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Write nested parameters as the query protocol does: Tags.member.1.Key=…"""
    flat: dict[str, str] = {}
    for name, value in params.items():
        key = f"{prefix}{name}"
        if isinstance(value, list):
            for index, one in enumerate(value, start=1):
                inner = one if isinstance(one, dict) else {"": one}
                for part, text in _flatten(inner, f"{key}.member.{index}.").items():
                    flat[part.rstrip(".")] = text
        elif value is not None:
            flat[key] = str(value)
    return flat
