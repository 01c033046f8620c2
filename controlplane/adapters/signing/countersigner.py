"""Ask the customer's countersigner for the second signature on a bundle.

Called by the worker after it has signed; the customer's key is in another process that we cannot
read (decision 13). Separate because a refusal is an answer here, not a failure: it is shown to
people with the customer's own reason.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, TypeVar

import httpx2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from controlplane.core.errors import ConflictError, UnavailableError
from proof.dsse import SignatureError, open_envelope
from wire.bundle import CountersignRequest, Refusal
from wire.envelope import Envelope

_TIMEOUT = 30.0
_Part = TypeVar("_Part", Envelope, Refusal)


class RefusedError(ConflictError):
    """The customer's countersigner said no; the message is its reason."""

    code = "countersign-refused"

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(
            f"the customer's countersigner refused: {refusal.reason}",
            detail={"refusal": refusal.code},
        )
        self.refusal = refusal


class Countersigner(Protocol):
    """Gives the customer's signature, or the reason why not."""

    def countersign(self, envelope: Envelope) -> Envelope: ...


class HttpCountersigner:
    """The countersigner's own API, `POST /v1/countersign`, with a bearer token from a file."""

    def __init__(self, url: str, token_file: Path, customer_key: Ed25519PublicKey | None) -> None:
        """`customer_key` checks what comes back; None leaves that to the agent."""
        self._url = url.rstrip("/")
        self._token_file = token_file
        self._customer_key = customer_key

    def countersign(self, envelope: Envelope) -> Envelope:
        """Return the envelope with the customer's signature added.

        Raises: RefusedError; UnavailableError `no-countersigner` when it does not answer as agreed.
        """
        body = CountersignRequest(envelope=envelope).to_wire()
        answer = self._post(body)
        if answer.status_code == 409:
            raise RefusedError(self._part(answer, "refusal", Refusal))
        if answer.status_code != 200:
            raise self._useless(f"status {answer.status_code}")
        signed = self._part(answer, "envelope", Envelope)
        if (signed.payload, signed.payloadType) != (envelope.payload, envelope.payloadType):
            raise self._useless("another document came back")
        if self._customer_key is not None:
            try:
                open_envelope(signed, signed.payloadType, {"customer": self._customer_key})
            except SignatureError as error:
                raise self._useless(str(error)) from error
        return signed

    def _post(self, body: dict[str, Any]) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {self._token_file.read_text().strip()}"}
        try:
            # No proxy and nothing else from the environment: the address is the setting's.
            with httpx2.Client(timeout=_TIMEOUT, trust_env=False) as client:
                return client.post(f"{self._url}/v1/countersign", json=body, headers=headers)
        except httpx2.HTTPError as error:
            raise self._useless(type(error).__name__) from error

    def _part(self, answer: httpx2.Response, name: str, kind: type[_Part]) -> _Part:
        # pydantic's ValidationError is a ValueError.
        try:
            return kind.model_validate(answer.json()[name])
        except (ValueError, KeyError, TypeError) as error:
            raise self._useless(f"no `{name}` in the answer") from error

    def _useless(self, reason: str) -> UnavailableError:
        return UnavailableError(
            f"the customer's countersigner at {self._url} gave no signature: {reason}",
            code="no-countersigner",
            fix="check RINGFENCE_COUNTERSIGNER_URL, its token file and the countersigner's log",
        )
