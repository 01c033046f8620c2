"""A runner on a bucket, and who gives it orders."""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import boto3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from proof.canonical import bytes_digest, canonical_bytes
from proof.dsse import open_envelope, seal
from proof.keys import decode_public
from proof.sealing import RUNNER_ORDER
from proof.sealing import seal as seal_secret
from runner.identity import Identity
from runner.mailbox import Mailbox
from runner.main import Runner
from runner.settings import Settings
from runner.work import Work
from tests.runner.bucket import Bucket
from wire.envelope import Envelope
from wire.runner import (
    ANSWER_TYPE,
    ORDER_TYPE,
    ClusterAddress,
    InstallRelease,
    ProvenHello,
    RunnerAnswer,
    RunnerOrder,
    Stop,
    chart_key,
    order_name,
)
from wire.takeover import Recipient

CLUSTER = ClusterAddress(
    name="ringfence-payments", endpoint="https://127.0.0.1:9", certificate_authority=""
)
CHART = b"a packed chart"
TOKEN = "rf_enrol_0123456789abcdefghijklmnopqrstuvwxyz"


@cache
def _sts() -> tuple[Any, Any]:
    """Return a client and credentials, once: a session of boto3 takes a second to make."""
    session = boto3.Session("AKIDEXAMPLE", "secret", "session", "eu-central-1")
    return session.client("sts"), session.get_credentials()


@dataclass
class Bench:
    """A runner, its bucket, and the key it obeys."""

    folder: Path
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    bucket: Bucket = field(default_factory=Bucket)
    run_id: UUID = field(default_factory=uuid4)
    fence: int = 3

    def __post_init__(self) -> None:
        self.mailbox = f"runner/{self.run_id}/{uuid4().hex}/"
        self.settings = Settings(
            bucket="b",
            mailbox=self.mailbox,
            region="eu-central-1",
            run_id=self.run_id,
            fence=self.fence,
            deadline=datetime.now(UTC) + timedelta(minutes=5),
            control_plane_key=self.key.public_key(),
            helm=self.folder / "helm",
            poll_seconds=0.01,
        )
        self.runner = self.start(self.settings)

    def start(self, settings: Settings) -> Runner:
        """Return a fresh process's runner on the same bucket."""
        mailbox = Mailbox(self.bucket, "b", settings.mailbox)
        identity = Identity(*_sts(), settings.region)
        work = Work(self.run_id, mailbox, identity, settings.helm, lambda: 30.0, self.folder)
        return Runner(settings, mailbox, identity, work)

    def order(self, action: Any, sequence: int = 1, **changes: Any) -> dict[str, Any]:
        """Return an order's document; an action may also be what no order is."""
        now = datetime.now(UTC)
        order = RunnerOrder(
            run_id=self.run_id,
            mailbox=self.mailbox,
            fence=self.fence,
            sequence=sequence,
            issued_at=now,
            expires_at=now + timedelta(minutes=2),
            action=Stop() if isinstance(action, dict) else action,
        )
        wrong = {"action": action} if isinstance(action, dict) else {}
        return {**order.to_wire(), **wrong, **changes}

    def put(
        self, document: dict[str, Any], *, key: Ed25519PrivateKey | None = None, name: str = ""
    ) -> str:
        """Sign an order and leave it in the mailbox; return its name."""
        name = name or order_name(document["fence"], document["sequence"])
        envelope = seal(key or self.key, ORDER_TYPE, document)
        self.put_bytes(name, canonical_bytes(envelope.model_dump(mode="json")))
        return name

    def put_bytes(self, name: str, raw: bytes) -> None:
        self.bucket.objects[f"{self.mailbox}orders/{name}.json"] = raw

    def answer(self, name: str) -> RunnerAnswer:
        """Let the runner take a turn, and return its answer, checked against its hello's key."""
        self.runner.turn()
        return self.read_answer(name)

    def read_answer(self, name: str) -> RunnerAnswer:
        raw = self.bucket.objects[f"{self.mailbox}answers/{name}.json"]
        key = decode_public(self.hello().hello.signing_key)
        document = open_envelope(
            Envelope.model_validate_json(raw), ANSWER_TYPE, {"the runner": key}
        )
        answer = RunnerAnswer.from_wire(document)
        given = self.bucket.objects.get(f"{self.mailbox}orders/{name}.json", b"")
        assert answer.order == name
        assert answer.order_digest == bytes_digest(given)
        return answer

    def hello(self) -> ProvenHello:
        return ProvenHello.from_wire(json.loads(self.bucket.objects[f"{self.mailbox}hello.json"]))

    def install(self, values: Any = None, **changes: Any) -> InstallRelease:
        """Return an order to install the chart, with values sealed to the runner."""
        self.bucket.objects[chart_key(self.run_id, bytes_digest(CHART))] = CHART
        text = json.dumps({"agent": {"enrolmentToken": TOKEN}} if values is None else values)
        recipient = Recipient(public=self.hello().hello.sealing_key)
        sealed = seal_secret(text.encode(), recipient, secrets.token_bytes(32), RUNNER_ORDER)
        return InstallRelease(
            **{
                "cluster": CLUSTER,
                "release": "ringfence",
                "namespace": "ringfence-system",
                "chart_digest": bytes_digest(CHART),
                "values": sealed,
                **changes,
            }
        )

    def helm(self, script: str) -> None:
        """Put a program in helm's place that keeps what it was called with."""
        self.settings.helm.write_text(
            f'#!/bin/sh\necho "$@" >> {self.folder}/calls\nenv > {self.folder}/environment\n'
            f"{script}\n"
        )
        self.settings.helm.chmod(0o700)

    def calls(self) -> str:
        return (self.folder / "calls").read_text()


def tampered(document: dict[str, Any], key: Ed25519PrivateKey, **changes: Any) -> bytes:
    """Return a signed order whose payload was changed afterwards."""
    envelope = seal(key, ORDER_TYPE, document)
    payload = base64.b64encode(canonical_bytes({**document, **changes})).decode()
    changed = envelope.model_copy(update={"payload": payload})
    return canonical_bytes(changed.model_dump(mode="json"))
