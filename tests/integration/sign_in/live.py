"""A live API process beside the sandbox's real identity provider, and a browser's way through it.

Used by the tests that need real HTTP on both sides: the strict provider and Chromium.
"""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import httpx2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from proof.keys import encode_public, fingerprint
from sandbox.home import Home
from sandbox.identity_provider import settings as provider_settings
from sandbox.identity_provider.install import FOLDER, find_node
from tests.architecture.sources import ROOT

START_SECONDS = 60.0


@dataclass(frozen=True)
class Live:
    """Where the two answer, and what signs people in."""

    api_url: str
    provider_url: str
    password: str
    log: Path
    database_url: str


class LiveProcesses:
    """Starts the provider and the API as the sandbox does, and ends them."""

    def __init__(self, home: Home, database_url: str) -> None:
        home.create()
        self._home = home
        self._database_url = database_url
        port = home.port("identity", host=provider_settings.HOST)
        api_port = home.port("api")
        self.api_url = f"http://127.0.0.1:{api_port}"
        self.provider_url = provider_settings.address(port)
        self.files = provider_settings.write_files(home, port, self.api_url)
        url_file = home.secrets / "database-url"
        url_file.write_text(database_url)
        key = Ed25519PrivateKey.generate()
        settings = {
            "DATABASE_URL_FILE": str(url_file),
            "CONTROL_PLANE_PUBLIC_KEY": encode_public(key),
            "CONTROL_PLANE_FINGERPRINT": fingerprint(key),
            "RELEASE_FINGERPRINT": fingerprint(Ed25519PrivateKey.generate()),
            "PUBLIC_URL": self.api_url,
            "SIGN_IN_KEY_FILE": str(self.files.client_key),
            "SIGN_IN_PROVIDERS_FILE": str(self.files.providers),
        }
        self._api_environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("RINGFENCE_")},
            "PYTHONPATH": str(ROOT),
            **{f"RINGFENCE_{name}": value for name, value in settings.items()},
        }
        uvicorn = ["-m", "uvicorn", "controlplane.app:create_app", "--factory"]
        self._api_argv = [sys.executable, *uvicorn, "--port", str(api_port), "--no-access-log"]
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self) -> Live:
        """Start both and return once they answer."""
        self.start_provider()
        self._start("api", self._api_argv, f"{self.api_url}/readyz", self._api_environment)
        return Live(
            self.api_url,
            self.provider_url,
            self.files.password.read_text(),
            self._home.logs / "identity.log",
            self._database_url,
        )

    def start_provider(self) -> subprocess.Popen[bytes]:
        """Start the provider alone."""
        argv = [str(find_node()), str(FOLDER / "server.mjs"), str(self.files.config)]
        ready = f"{self.provider_url}/.well-known/openid-configuration"
        return self._start("identity", argv, ready, {"PATH": os.environ["PATH"]})

    def restart_provider(self) -> None:
        """End the provider and start it again with the files it has."""
        process = self._running[0]
        process.terminate()
        process.wait(timeout=20)
        self._running[0] = self.start_provider()
        self._running.pop()

    def _start(
        self, name: str, argv: list[str], ready: str, environment: dict[str, str]
    ) -> subprocess.Popen[bytes]:
        log = self._home.logs / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                argv, cwd=ROOT, env=environment, stdout=output, stderr=output
            )
        self._running.append(process)
        deadline = time.monotonic() + START_SECONDS
        while not _answers(ready):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{name} did not start:\n{log.read_text()}")
            time.sleep(0.05)
        return process

    def stop(self) -> None:
        """End both."""
        for process in self._running:
            process.terminate()
        for process in self._running:
            process.wait(timeout=20)


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=5, trust_env=False).is_success
    except httpx2.HTTPError:
        return False


class Visitor:
    """A browser without script: follows redirects, keeps cookies per host, fills in forms."""

    def __init__(self) -> None:
        self._jars: dict[str, dict[str, str]] = {}
        self.http = httpx2.Client(trust_env=False, timeout=30)
        self.visited: list[str] = []
        self.url = ""
        self.text = ""
        self.status = 0

    def open(self, url: str) -> str:
        """Go to an address and follow where it leads; return the last address."""
        return self._go("GET", url, None)

    def submit(self, **fields: str) -> str:
        """Send the page's form with its own hidden fields and these; return the last address."""
        action = re.search(r'<form[^>]*action="([^"]*)"', self.text)
        target = urljoin(self.url, html.unescape(action.group(1)) if action else self.url)
        hidden = re.findall(
            r'<input type="hidden" name="([^"]+)" value="([^"]*)"', self.text.replace("\n", " ")
        )
        return self._go("POST", target, {**dict(hidden), **fields})

    def cookies(self, url: str) -> dict[str, str]:
        """Return the cookies of an address's host."""
        return self._jars.setdefault(httpx2.URL(url).host, {})

    def _go(self, method: str, url: str, form: dict[str, str] | None) -> str:
        for _ in range(15):
            self.visited.append(url)
            jar = self.cookies(url)
            # As Chromium does on loopback, cookies marked Secure are sent over plain HTTP.
            sent = "; ".join(f"{k}={v}" for k, v in jar.items())
            headers = {"Accept": "text/html", **({"Cookie": sent} if sent else {})}
            answer = self.http.request(method, url, data=form, headers=headers)
            for line in answer.headers.get_list("set-cookie"):
                name, _, rest = line.partition("=")
                value = rest.partition(";")[0]
                if "max-age=0" in line.lower() or not value or "1970" in line:
                    jar.pop(name, None)
                else:
                    jar[name] = value
            self.http.cookies.clear()
            self.url, self.text, self.status = url, answer.text, answer.status_code
            if answer.status_code not in (302, 303, 307):
                return url
            url, method, form = urljoin(url, answer.headers["location"]), "GET", None
        raise AssertionError("too many redirects")
