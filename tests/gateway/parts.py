"""Start a real gateway process against a database, an API server and an engine."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import psycopg

from gateway.keys import hash_key, new_key
from tests.engine.parts import ROOT, child_environment, wait_for_log
from tests.gateway.api_server import ApiServer

DIGEST = "sha256:" + "0" * 64
AGENT = "system:serviceaccount:ringfence-system:agent"


def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Return the first true value of a condition. Raises: AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.03)
    raise AssertionError(f"did not hold within {seconds:g} s")


def instance_spec(model: str = "tiny-coder", artifact: str = "tiny-coder") -> dict[str, Any]:
    """Return the spec of a ModelInstance."""
    return {
        "artifactRef": {"name": artifact},
        "engine": {"name": "llama.cpp", "image": f"ringfence/engine-llamacpp@{DIGEST}"},
        "serving": {"modelName": model},
    }


def binding_spec(alias: str, instance: str = "coder") -> dict[str, Any]:
    """Return the spec of an AdapterBinding."""
    return {"instanceRef": {"name": instance}, "artifactRef": {"name": alias}, "alias": alias}


def key_entry(key: str, owner: str, group: str, days: float = 1.0) -> dict[str, Any]:
    """Return an entry of a GatewayAccess' keys."""
    expires = datetime.now(UTC) + timedelta(days=days)
    return {
        "hash": hash_key(key),
        "owner": owner,
        "group": group,
        "expiresAt": expires.isoformat().replace("+00:00", "Z"),
    }


@dataclass
class GatewayProcess:
    """A gateway process on one database and one API server."""

    folder: Path
    kubernetes: dict[str, str]
    """What a pod's environment says about the API server."""
    database: str
    key: str = field(default_factory=new_key)
    other_key: str = field(default_factory=new_key)
    process: subprocess.Popen[bytes] | None = None
    url: str = ""
    internal_url: str = ""
    starts: int = 0

    def start(self, *, ready: bool = True, **extra: str) -> None:
        """Start the gateway and wait until it is ready."""
        self.starts += 1
        url_file = self.folder / "database-url"
        url_file.write_text(self.database)
        environment = child_environment(
            GATEWAY_NAMESPACE="boundary-payments",
            GATEWAY_BOUNDARY_ID="b-payments",
            GATEWAY_DATABASE_URL_FILE=str(url_file),
            GATEWAY_SPOOL_DIR=str(self.spool),
            GATEWAY_HOST="127.0.0.1",
            GATEWAY_PORT="0",
            GATEWAY_INTERNAL_PORT="0",
            **self.kubernetes,
            **extra,
        )
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gateway.main"],
                env=environment,
                cwd=ROOT,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
            )
        port = wait_for_log(self.process, self.log, r"api listens on port (\d+)").group(1)
        inner = wait_for_log(self.process, self.log, r"internal listens on port (\d+)").group(1)
        self.url, self.internal_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{inner}"
        if ready:
            until(lambda: httpx2.get(f"{self.url}/readyz").status_code == 200)

    @property
    def log(self) -> Path:
        return self.folder / f"gateway-{self.starts}.log"

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    def kill(self) -> None:
        """End the gateway as a crash does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=10)

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(timeout=40)

    def close(self) -> None:
        """Leave no process behind."""
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def chat(self, model: str, key: str | None = None, **body: Any) -> httpx2.Response:
        """Ask for one short completion."""
        content = {
            "model": model,
            "messages": [{"role": "user", "content": "Write a test."}],
            "temperature": 0,
            "max_tokens": 8,
            **body,
        }
        headers = {"Authorization": f"Bearer {key or self.key}"}
        return httpx2.post(
            f"{self.url}/v1/chat/completions", json=content, headers=headers, timeout=30
        )

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query on the boundary's database."""
        with psycopg.connect(self.database) as connection:
            return connection.execute(query).fetchall()

    def event_of(self, answer: httpx2.Response) -> tuple[Any, ...]:
        """Wait for the event of one answer and return (model, error, output tokens)."""
        query = (
            "SELECT requested_model, error_type, gen_ai_usage_output_tokens FROM usage_event"
            f" WHERE event_id = '{answer.headers['x-request-id']}'"
        )
        (row,) = until(lambda: self.rows(query))
        return tuple(row)

    def events(self, count: int) -> list[tuple[Any, ...]]:
        """Wait for a number of events and return (model, error, in, out, subject, stream)."""
        query = (
            "SELECT requested_model, error_type, gen_ai_usage_input_tokens,"
            " gen_ai_usage_output_tokens, subject_pseudonym, stream"
            " FROM usage_event ORDER BY occurred_at, event_id"
        )
        until(lambda: len(self.rows(query)) >= count)
        return self.rows(query)

    def rolled_up(self) -> None:
        """Wait until every hour and day that stored events marked has been computed."""
        marks = "SELECT 1 FROM usage_dirty_hour UNION ALL SELECT 1 FROM usage_dirty_day"
        until(lambda: not self.rows(marks))


class Boundary(GatewayProcess):
    """A gateway process with a double of the API server of its own."""

    def __init__(self, folder: Path, api: ApiServer, database: str) -> None:
        super().__init__(folder, api.environment(), database)
        self.api = api

    def close(self) -> None:
        """Leave no process and no server behind."""
        super().close()
        self.api.close()

    def publish(self, engine_url: str | None) -> None:
        """Put the demo's resources: two adapters, two groups, one key each."""
        status = {} if engine_url is None else {"endpoint": engine_url}
        self.api.put("modelinstances", "coder", instance_spec(), status)
        for alias in ("payments-style", "research-style"):
            self.api.put("adapterbindings", alias, binding_spec(alias))
        self.publish_access()

    def publish_access(self, **changed: Any) -> None:
        """Put the GatewayAccess."""
        spec = {
            "keys": [
                key_entry(self.key, "pia@acme.test", "payments-engineers"),
                key_entry(self.other_key, "rui@acme.test", "research-engineers"),
            ],
            "groups": [
                {"name": "payments-engineers", "models": ["tiny-coder", "payments-style"]},
                {"name": "research-engineers", "models": ["research-style"]},
            ],
        }
        self.api.put("gatewayaccesses", "access", {**spec, **changed})
