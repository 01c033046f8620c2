"""The network probe image: serve TCP or HTTP, connect and report. For tests of policies.

Run as the image `ringfence/probe`:
`serve --port 8080 [--body TEXT] [--ready-after SECONDS]`, `connect HOST PORT [--seconds 2]`,
`get URL [--seconds 2]`, `sleep SECONDS`, `exit CODE [--message TEXT]`, `show PATH...`, `env`.
"""

from __future__ import annotations

import argparse
import http.server
import json
import os
import signal
import socket
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers `/` with a body, `/ready`, and runs checks for tests.

    `/connect?host=&port=&seconds=` tries a TCP connection from inside this pod,
    `/file?path=` shows a file, `/env` the environment's names and values.
    """

    body = "ok"
    ready_at = 0.0

    def do_GET(self) -> None:  # the base class names it
        url = urllib.parse.urlsplit(self.path)
        query = {key: values[0] for key, values in urllib.parse.parse_qs(url.query).items()}
        if url.path == "/ready":
            late = time.monotonic() < self.ready_at
            self._answer(503 if late else 200, "not yet" if late else "ready")
        elif url.path == "/connect":
            seconds = float(query.get("seconds", "2"))
            self._answer(200, connect(query["host"], int(query["port"]), seconds))
        elif url.path == "/file":
            try:
                self._answer(200, Path(query["path"]).read_text())
            except OSError as error:
                self._answer(404, str(error))
        elif url.path == "/env":
            self._answer(200, json.dumps(dict(os.environ)))
        elif url.path == "/who":
            self._answer(200, json.dumps({"uid": os.getuid(), "host": socket.gethostname()}))
        else:
            self._answer(200, self.body)

    def _answer(self, status: int, text: str) -> None:
        raw = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


def connect(host: str, port: int, seconds: float) -> str:
    """Try a TCP connection and say how it went: connected, refused, timeout or the error."""
    try:
        with socket.create_connection((host, port), seconds):
            return "connected"
    except TimeoutError:
        return "timeout"
    except ConnectionRefusedError:
        return "refused"
    except OSError as error:
        return f"error {error}"


def serve(port: int, body: str, ready_after: float) -> int:
    """Serve HTTP until SIGTERM."""
    _Handler.body = body
    _Handler.ready_at = time.monotonic() + ready_after
    server = http.server.ThreadingHTTPServer(("0.0.0.0", port), _Handler)  # noqa: S104  # in a pod
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server.serve_forever()
    return 0


def get(url: str, seconds: float) -> int:
    """Print the answer of a GET; exit code 1 when there is none."""
    try:
        with urllib.request.urlopen(url, timeout=seconds) as response:  # noqa: S310  # tests only
            print(response.read().decode())
            return 0
    except (urllib.error.URLError, OSError) as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1


def _end(code: int, message: str) -> int:
    if message:
        Path("/dev/termination-log").write_text(message)
        print(message)
    return code


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="ringfence/probe", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser("serve")
    serving.add_argument("--port", type=int, default=8080)
    serving.add_argument("--body", default="ok")
    serving.add_argument("--ready-after", type=float, default=0)
    connecting = commands.add_parser("connect")
    connecting.add_argument("host")
    connecting.add_argument("port", type=int)
    connecting.add_argument("--seconds", type=float, default=2)
    getting = commands.add_parser("get")
    getting.add_argument("url")
    getting.add_argument("--seconds", type=float, default=2)
    sleeping = commands.add_parser("sleep")
    sleeping.add_argument("seconds", type=float)
    ending = commands.add_parser("exit")
    ending.add_argument("code", type=int)
    ending.add_argument("--message", default="")
    writing = commands.add_parser("write")
    writing.add_argument("path", type=Path)
    writing.add_argument("text")
    showing = commands.add_parser("show")
    showing.add_argument("path", type=Path, nargs="+")
    options = parser.parse_args(argv)
    if options.command == "serve":
        return serve(options.port, options.body, options.ready_after)
    if options.command == "connect":
        outcome = connect(options.host, options.port, options.seconds)
        print(outcome)
        return 0 if outcome == "connected" else 1
    if options.command == "get":
        return get(options.url, options.seconds)
    if options.command == "sleep":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        time.sleep(options.seconds)
        return 0
    if options.command == "write":
        options.path.write_text(options.text)
        return 0
    if options.command == "show":
        for path in options.path:
            print(path.read_text())
        return 0
    return _end(options.code, options.message)


if __name__ == "__main__":
    sys.exit(main())
