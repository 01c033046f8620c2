"""A real registry behind a front of ours: `crane registry serve` as a child, and requests to it.

Used by the rehearsal account, whose front checks tokens and policies, and by the vendor's registry
of the sandbox, whose front only reads. Separate because both need the same child: started with the
first request, blobs on disk, gone with its parent. It keeps manifests in memory only, so a front
that must survive a restart puts them back (`RegistryProcess.started` counts the starts).
"""

from __future__ import annotations

import http.client
import re
import subprocess
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sandbox.isolation import dies_with_parent
from sandbox.toolchain import find_program

_PORT = re.compile(rb"serving on port (\d+)")
_SECONDS = 60.0
_HOP = frozenset({"connection", "host", "authorization", "transfer-encoding", "content-length"})


class RegistryUnavailableError(RuntimeError):
    """The registry's process does not answer."""


@dataclass(frozen=True)
class Answer:
    """What the registry said; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class RegistryProcess:
    """One registry on loopback; only its front knows the port."""

    def __init__(self, folder: Path) -> None:
        """Keep blobs below `folder`; nothing runs until the first request."""
        self._folder = folder
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self.started = 0
        # The kernel sends the death signal when the thread that forked ends (prctl(2)); a request's
        # thread ends with its request, so one thread starts every child.
        self._spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="registry-spawner")

    def ask(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """Send one request. Raises: RegistryUnavailableError."""
        kept = {name: text for name, text in (headers or {}).items() if name.lower() not in _HOP}
        connection = http.client.HTTPConnection("127.0.0.1", self._running(), timeout=_SECONDS)
        try:
            connection.request(method, target, body=body or None, headers=kept)
            response = connection.getresponse()
            found = {name.lower(): text for name, text in response.getheaders()}
            return Answer(response.status, found, response.read())
        except (OSError, http.client.HTTPException) as error:
            raise RegistryUnavailableError(f"the registry does not answer: {error}") from error
        finally:
            connection.close()

    def stop(self) -> None:
        """End the child; what it holds in memory is gone."""
        with self._lock:
            if self._process is not None:
                self._process.terminate()
                self._process.wait()
                assert self._process.stderr is not None
                self._process.stderr.close()
                self._process = None
        self._spawner.shutdown()

    def _running(self) -> int:
        """Return the port, starting the child where none lives."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._process = self._spawner.submit(self._start).result()
                self.started += 1
            return self._port

    def _start(self) -> subprocess.Popen[bytes]:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        crane = [str(find_program("crane")), "registry", "serve", "--address", "127.0.0.1:0"]
        process = subprocess.Popen(
            dies_with_parent([*crane, "--disk", str(self._folder)]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={"HOME": str(self._folder), "PATH": "/usr/bin:/bin"},
        )
        assert process.stderr is not None
        for line in process.stderr:
            if found := _PORT.search(line):
                self._port = int(found.group(1))
                threading.Thread(target=_drain, args=(process,), daemon=True).start()
                return process
        process.wait()
        process.stderr.close()
        raise RegistryUnavailableError("crane registry serve ended before it listened")


def _drain(process: subprocess.Popen[bytes]) -> None:
    """Read the child's log to its end, so that it never waits for a full pipe."""
    assert process.stderr is not None
    try:
        while process.stderr.read(65536):
            continue
    except ValueError:
        # `stop` closed it.
        return
