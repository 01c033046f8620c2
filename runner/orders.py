"""What makes bytes in the mailbox an order: signature, addressee, time, place in line.

Used by `runner.main` before anything is done. Separate and without I/O, so that every refusal can
be tested. Whoever can write into the bucket can leave bytes here; only the control-plane key can
leave an order, and only once.
"""

from __future__ import annotations

import json
from datetime import datetime
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import ValidationError

from proof.dsse import SignatureError, open_envelope
from wire.envelope import Envelope
from wire.runner import ORDER_TYPE, RunnerOrder, order_name
from wire.version import UnsupportedVersionError


class RefusedError(Exception):
    """The bytes are no order for us now; `code` is stable."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Gate:
    """Lets orders in, each once and in order."""

    def __init__(self, key: Ed25519PublicKey, run_id: UUID, mailbox: str, fence: int) -> None:
        """`fence` is that of the worker that started the runner: nothing below it is obeyed."""
        self._key, self._run_id, self._mailbox = key, run_id, mailbox
        self._last = (fence, 0)

    def admit(self, name: str, raw: bytes, now: datetime) -> RunnerOrder:
        """Return the order in an object. Raises: RefusedError; then the order never comes back."""
        order = self._opened(raw)
        if (order.run_id, order.mailbox) != (self._run_id, self._mailbox):
            raise RefusedError("wrong-runner", "the order is for another runner")
        place = (order.fence, order.sequence)
        if name != order_name(*place):
            raise RefusedError("wrong-place", f"the order belongs into {order_name(*place)}")
        if order.fence < self._last[0]:
            raise RefusedError(
                "stale-fence", f"fence {order.fence} is over; {self._last[0]} gives orders now"
            )
        if place <= self._last:
            raise RefusedError("replayed", f"order {name} is not above {order_name(*self._last)}")
        if now >= order.expires_at:
            raise RefusedError("expired", f"the order was good until {order.expires_at}")
        self._last = place
        return order

    def _opened(self, raw: bytes) -> RunnerOrder:
        try:
            envelope = Envelope.model_validate_json(raw)
            document = open_envelope(envelope, ORDER_TYPE, {"control plane": self._key})
        except ValidationError as error:
            raise RefusedError("not-an-envelope", "the object is no signed envelope") from error
        except SignatureError as error:
            raise RefusedError(error.code, str(error)) from error
        try:
            return RunnerOrder.from_wire(document)
        except UnsupportedVersionError as error:
            raise RefusedError("unsupported-version", str(error)) from error
        except ValidationError as error:
            raise _malformed(error) from error


def _malformed(error: ValidationError) -> RefusedError:
    """Name the fields, never what they hold."""
    found = error.errors(include_input=False, include_url=False, include_context=False)
    if any(one["type"] == "union_tag_invalid" for one in found):
        return RefusedError("unknown-order", "no order of this vocabulary")
    fields = sorted({".".join(map(str, one["loc"])) for one in found})
    return RefusedError("malformed", f"wrong fields: {json.dumps(fields[:10])}")
