"""The control-plane key: signs what the control plane answers for (decision 13).

Made by the worker's composition root only; API and scheduler never hold it. Separate so that the
private half has one holder, which signs messages of known types and shows nothing of itself.
"""

from __future__ import annotations

from pathlib import Path

from controlplane.core.errors import InternalError
from proof.dsse import seal
from proof.keys import KeyFileError, encode_public, fingerprint, load_private_key
from wire.audit import CHECKPOINT_TYPE, Checkpoint
from wire.bundle import BUNDLE_TYPE, VERB_TYPE, Bundle, Verb
from wire.certificate import (
    CERTIFICATE_TYPE,
    REMOVAL_TYPE,
    InstallCertificate,
    RemovalCertificate,
)
from wire.envelope import Envelope
from wire.report import MANIFEST_TYPE, STATEMENT_TYPE, ReportManifest, ReportStatement
from wire.runner import ORDER_TYPE, RunnerOrder
from wire.takeover import TAKEOVER_TYPE, TakeoverManifest

Signable = (
    Bundle
    | Verb
    | InstallCertificate
    | RemovalCertificate
    | Checkpoint
    | ReportStatement
    | ReportManifest
    | TakeoverManifest
    | RunnerOrder
)
# Each payload type of its own: a signature over one can never pass for another.
_TYPES: dict[type[Signable], str] = {
    Bundle: BUNDLE_TYPE,
    Verb: VERB_TYPE,
    InstallCertificate: CERTIFICATE_TYPE,
    RemovalCertificate: REMOVAL_TYPE,
    Checkpoint: CHECKPOINT_TYPE,
    ReportStatement: STATEMENT_TYPE,
    ReportManifest: MANIFEST_TYPE,
    TakeoverManifest: TAKEOVER_TYPE,
    RunnerOrder: ORDER_TYPE,
}


class ControlPlaneKey:
    """Signs by the private key in a 0600 file."""

    def __init__(self, path: Path) -> None:
        """Raises: InternalError when the file is missing, not a key, or readable by others."""
        try:
            self._key = load_private_key(path)
        except KeyFileError as error:
            raise InternalError(
                str(error), code="no-control-plane-key", fix="set RINGFENCE_CONTROL_PLANE_KEY_FILE"
            ) from error

    @property
    def public(self) -> str:
        """Return the public half as base64, as the agent gets it."""
        return encode_public(self._key)

    @property
    def fingerprint(self) -> str:
        """Return what the customer's template pins."""
        return fingerprint(self._key)

    def sign(self, message: Signable) -> Envelope:
        """Return the message in an envelope with our signature."""
        return seal(self._key, _TYPES[type(message)], message.to_wire())
