"""HTTP front of the countersigner: one route, one bearer token, loopback only.

Run as `python -m countersigner --config FILE`; called by the control plane's worker. The standard
library's server is enough here, and every dependency less is one less beside the customer's key.
"""

from __future__ import annotations

import argparse
import hmac
import json
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

from pydantic import ValidationError

from countersigner.service import BundleLog, Countersigner
from proof.keys import KeyFileError, load_private_key
from wire.bundle import CountersignRequest, Refusal
from wire.version import Document

LARGEST_BODY = 8_000_000


class Config(Document):
    """Settings of the process; paths are absolute, files 0600."""

    port: int
    key_file: Path
    """The customer's Ed25519 key, PEM; readable by this process only."""
    token_file: Path
    """What the control plane must present."""
    policy_file: Path
    log_file: Path


class Handler(BaseHTTPRequestHandler):
    """`POST /v1/countersign` and `GET /healthz`."""

    service: ClassVar[Countersigner]
    token: ClassVar[str]

    def do_GET(self) -> None:
        if self.path == "/healthz":
            self._answer(200, {"status": "ok", "key": self.service.fingerprint()})
        else:
            self._answer(404, {"error": {"code": "not-found", "message": "no such route"}})

    def do_POST(self) -> None:
        if self.path != "/v1/countersign":
            self._answer(404, {"error": {"code": "not-found", "message": "no such route"}})
            return
        presented = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(presented.encode(), self.token.encode()):
            self._answer(401, {"error": {"code": "unauthenticated", "message": "wrong token"}})
            return
        length = int(self.headers.get("Content-Length") or 0)
        if length > LARGEST_BODY:
            self._answer(413, {"error": {"code": "too-large", "message": "bundle over 8 MB"}})
            return
        try:
            request = CountersignRequest.model_validate_json(self.rfile.read(length))
        except ValidationError as error:
            self._answer(400, {"error": {"code": "invalid", "message": str(error)[:2000]}})
            return
        result = self.service.sign(request.envelope)
        if isinstance(result, Refusal):
            self._answer(409, {"refusal": result.model_dump()})
        else:
            self._answer(200, {"envelope": result.model_dump(mode="json")})

    def _answer(self, status: int, document: dict[str, object]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        print(f"{self.command} {self.path} {args[1] if len(args) > 1 else ''}", flush=True)


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGTERM. Returns 2 on a bad configuration, with the reason on stderr."""
    parser = argparse.ArgumentParser(prog="python -m countersigner", description=__doc__)
    parser.add_argument("--config", required=True, type=Path, help="JSON file with the settings")
    options = parser.parse_args(argv)
    try:
        config = Config.model_validate_json(options.config.read_text())
        key = load_private_key(config.key_file)
        Handler.service = Countersigner(key, config.policy_file, BundleLog(config.log_file))
        Handler.token = config.token_file.read_text().strip()
    except (OSError, ValueError, KeyFileError) as error:
        print(f"error: countersigner cannot start: {error}", file=sys.stderr)
        return 2
    server = ThreadingHTTPServer(("127.0.0.1", config.port), Handler)

    def stop(*_: object) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
    print(f"countersigner ready, key {Handler.service.fingerprint()}", flush=True)
    try:
        server.serve_forever()
    finally:
        server.server_close()
    return 0
