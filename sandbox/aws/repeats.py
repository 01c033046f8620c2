"""Client tokens: a create call that is repeated with its token is answered, not done again.

The SDKs put a token into every call whose API takes one, and keep it over their own retries; EC2
and EKS then give the first answer (EC2 user guide, "Ensuring idempotency"). Called by the gate.
Calls without a token in their API (CreateVpc, CreateSubnet, CreateKey) are done again, as in AWS.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from pathlib import Path
from typing import Any

from sandbox.aws.errors import AwsError
from sandbox.aws.files import read_json, write_json
from sandbox.aws.messages import Call, Response

_NAMES = ("ClientToken", "clientRequestToken")
_KEPT = 2000


class Repeats:
    """Answers by client token; the newest are kept."""

    def __init__(self, data_dir: Path) -> None:
        """Load `client-tokens.json`."""
        self._file = data_dir / "client-tokens.json"
        self._known: dict[str, dict[str, Any]] = read_json(self._file, {})
        self._lock = threading.Lock()

    def find(self, call: Call) -> Response | None:
        """Give the first answer to a repeated call.

        Raises: AwsError IdempotentParameterMismatch where the token belongs to another request.
        """
        key = _key(call)
        with self._lock:
            known = self._known.get(key) if key else None
        if known is None:
            return None
        if known["request"] != _digest(call):
            text = "The client token belongs to a request with other parameters"
            raise AwsError("IdempotentParameterMismatch", text)
        return Response(known["status"], known["headers"], base64.b64decode(known["body"]))

    def keep(self, call: Call, response: Response) -> None:
        """Remember the answer of a call that was done."""
        key = _key(call)
        if key is None or response.status >= 400:
            return
        with self._lock:
            self._known[key] = {
                "request": _digest(call),
                "status": response.status,
                "headers": response.headers,
                "body": base64.b64encode(response.body).decode(),
            }
            for old in list(self._known)[:-_KEPT]:
                del self._known[old]
            write_json(self._file, self._known)


def _key(call: Call) -> str | None:
    token = next((str(call.params[name]) for name in _NAMES if call.params.get(name)), None)
    if token is None or not call.mutating:
        return None
    return "/".join((call.account, call.region, call.service, call.operation, token))


def _digest(call: Call) -> str:
    return hashlib.sha256(json.dumps(call.params, sort_keys=True).encode()).hexdigest()
