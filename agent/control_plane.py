"""The agent's side of the conversation with the control plane.

Used by `agent.main` and the loops. Every request after enrolment is signed with the agent's key;
the control plane holds no bearer secret of ours.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime

import aiohttp
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.settings import AGENT_VERSION
from proof.keys import encode_public
from proof.request_signing import HEADER, sign_request
from wire.agent import AgentStatus, DesiredState, EnrolRequest, EnrolResponse, VerbResult
from wire.audit import CheckpointAnchored, CheckpointBatch
from wire.usage import EventPush
from wire.version import Message

POLL_SECONDS = 25


class ControlPlaneError(RuntimeError):
    """The control plane answered with an error; `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ControlPlane:
    """One control plane; the identity is set once enrolled."""

    def __init__(self, url: str, key: Ed25519PrivateKey) -> None:
        self._url = url
        self._key = key
        self._identity: EnrolResponse | None = None
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=POLL_SECONDS + 15)
        )

    async def close(self) -> None:
        await self._session.close()

    def use(self, identity: EnrolResponse) -> None:
        """Sign as this agent from now on."""
        self._identity = identity

    async def enrol(self, token: str) -> EnrolResponse:
        """Exchange the one-time token for an identity. Raises: ControlPlaneError."""
        proof = self._key.sign(hashlib.sha256(token.encode()).digest())
        request = EnrolRequest(
            token=token,
            public_key=encode_public(self._key),
            proof_of_possession=base64.b64encode(proof).decode(),
            agent_version=AGENT_VERSION,
        )
        body = orjson.dumps(request.to_wire())
        data = await self._send("POST", "/agent/v1/enrol", body, signed=False)
        return EnrolResponse.from_wire(orjson.loads(data))

    async def desired(self, applied_sequence: int) -> DesiredState:
        """Wait for something new, at most POLL_SECONDS; the answer may be empty."""
        target = f"/agent/v1/desired?after={applied_sequence}&wait={POLL_SECONDS}"
        return DesiredState.from_wire(orjson.loads(await self._send("GET", target, b"")))

    async def push_status(self, status: AgentStatus) -> None:
        await self._push("/agent/v1/status", status)

    async def push_verb_result(self, result: VerbResult) -> None:
        await self._push("/agent/v1/verb-results", result)

    async def push_usage(self, document: dict[str, object]) -> None:
        """Push one `wire.usage.RollupPush`; returns once the control plane has committed it."""
        await self._send("POST", "/agent/v1/usage", orjson.dumps(document))

    async def push_events(self, push: EventPush) -> None:
        """Push a page of events; returns once the control plane has committed it."""
        await self._push("/agent/v1/usage-events", push)

    async def checkpoints(self) -> CheckpointBatch:
        """Return the audit's checkpoints that are not in the customer's bucket yet."""
        data = await self._send("GET", "/agent/v1/checkpoints", b"")
        return CheckpointBatch.from_wire(orjson.loads(data))

    async def push_anchored(self, report: CheckpointAnchored) -> None:
        await self._push("/agent/v1/checkpoints", report)

    async def _push(self, target: str, message: Message) -> None:
        await self._send("POST", target, orjson.dumps(message.to_wire()))

    async def _send(self, method: str, target: str, body: bytes, *, signed: bool = True) -> bytes:
        headers = {"Content-Type": "application/json"}
        if signed:
            assert self._identity is not None
            headers[HEADER] = sign_request(
                self._key, self._identity.agent_id, method, target, body, datetime.now(UTC)
            )
        async with self._session.request(
            method, f"{self._url}{target}", data=body or None, headers=headers
        ) as answer:
            data = await answer.read()
            if answer.status >= 400:
                text = data[:500].decode(errors="replace")
                raise ControlPlaneError(answer.status, f"{method} {target.split('?')[0]}: {text}")
            return data
