"""Fetch and keep a provider's metadata and keys, for a bounded time.

Used by `client`. A key that is not known is looked for once more, since providers rotate keys; that
second look is limited per provider, or anybody could make us ask with tokens of invented key ids.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx2
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey

from controlplane.adapters.oidc.provider import (
    ProviderError,
    ProviderMetadata,
    ProviderPins,
    is_loopback,
    parse_metadata,
    require_safe,
)

PublicKey = RSAKey | ECKey | OKPKey
LARGEST_ANSWER = 512_000
"""Bytes of any answer of a provider."""
KEPT_SECONDS = 3600.0
"""How long metadata and keys are believed: a key withdrawn by its provider ends within this."""
UNKNOWN_KEY_SECONDS = 30.0
"""Least time between two looks for unknown keys at one provider."""
SMALLEST_RSA_BITS = 2048
TIMEOUT = httpx2.Timeout(10.0, connect=5.0)


def call(url: str, *, form: dict[str, str] | None = None) -> tuple[int, Any]:
    """Return status and JSON document of a provider's answer. Raises: ProviderError.

    Redirects are not followed: the address is the one that was checked.
    """
    method = "GET" if form is None else "POST"
    try:
        with (
            # A proxy of the environment must not be asked for an address of this machine.
            httpx2.Client(timeout=TIMEOUT, trust_env=not is_loopback(url)) as client,
            client.stream(method, url, data=form, headers={"Accept": "application/json"}) as answer,
        ):
            content = b""
            for chunk in answer.iter_bytes():
                content += chunk
                if len(content) > LARGEST_ANSWER:
                    raise ProviderError("the provider's answer is too large")
            return answer.status_code, json.loads(content)
    except httpx2.HTTPError as error:
        raise ProviderError(f"the provider does not answer ({type(error).__name__})") from error
    except (ValueError, RecursionError) as error:
        raise ProviderError("the provider's answer is not JSON") from error


@dataclass
class _Known:
    """What is kept of one provider; times are of the monotonic clock."""

    metadata: ProviderMetadata
    metadata_at: float
    keys: dict[str | None, list[PublicKey]]
    keys_at: float
    looked_at: float


class ProviderDirectory:
    """The metadata and keys of all providers, shared by the threads of one process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[tuple[str, str], _Known] = {}
        self._lock = threading.Lock()
        self._locks: dict[tuple[str, str], threading.Lock] = {}

    def metadata(self, pins: ProviderPins) -> ProviderMetadata:
        """Return the provider's metadata, at most `KEPT_SECONDS` old. Raises: ProviderError."""
        with self._held(pins):
            return self._provider(pins).metadata

    def find_key(self, pins: ProviderPins, key_id: str | None) -> PublicKey | None:
        """Return the signing key with this id, or the only one for None.

        Raises: ProviderError when the provider does not answer.
        """
        with self._held(pins):
            known = self._provider(pins)
            found = _pick(known, key_id)
            if found is None and self._clock() - known.looked_at >= UNKNOWN_KEY_SECONDS:
                known.looked_at = self._clock()
                known.keys = _fetch_keys(known.metadata)
                known.keys_at = self._clock()
                found = _pick(known, key_id)
            return found

    def _held(self, pins: ProviderPins) -> threading.Lock:
        """Return the lock of one provider: a slow one delays its own people only."""
        with self._lock:
            return self._locks.setdefault((pins.issuer, pins.address()), threading.Lock())

    def _provider(self, pins: ProviderPins) -> _Known:
        place = (pins.issuer, pins.address())
        known = self._known.get(place)
        now = self._clock()
        if known is None or now - min(known.metadata_at, known.keys_at) > KEPT_SECONDS:
            url = pins.address()
            require_safe(url, loopback=True, what="the metadata address")
            status, document = call(url)
            if status != 200:
                raise ProviderError(f"the metadata address answers {status}")
            metadata = parse_metadata(document, pins)
            looked_at = now - UNKNOWN_KEY_SECONDS if known is None else known.looked_at
            known = _Known(metadata, now, _fetch_keys(metadata), now, looked_at)
            self._known[place] = known
        return known


def _pick(known: _Known, key_id: str | None) -> PublicKey | None:
    """Return the key of that id; a token without an id is taken only where no choice exists."""
    if key_id is None:
        every = [key for keys in known.keys.values() for key in keys]
        return every[0] if len(every) == 1 else None
    found = known.keys.get(key_id, [])
    return found[0] if len(found) == 1 else None


def _fetch_keys(metadata: ProviderMetadata) -> dict[str | None, list[PublicKey]]:
    status, document = call(metadata.jwks_uri)
    if status != 200 or not isinstance(document, dict):
        raise ProviderError(f"the address of the keys answers {status}")
    found: dict[str | None, list[PublicKey]] = {}
    for entry in document.get("keys") or []:
        key = _signing_key(entry)
        if key is not None:
            found.setdefault(entry.get("kid"), []).append(key)
    return found


def _signing_key(entry: Any) -> PublicKey | None:
    """Return a usable public key of a key set, or None for what is not one.

    Symmetric keys are never taken: with one, whoever can verify could sign.
    """
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return None
    if entry.get("kty") not in ("RSA", "EC", "OKP"):
        return None
    try:
        key = KeySet.import_key_set({"keys": [entry]}).keys[0]
    except (ValueError, KeyError, TypeError, IndexError):
        return None
    if not isinstance(key, RSAKey | ECKey | OKPKey) or key.is_private:
        return None
    if isinstance(key, RSAKey) and key.public_key.key_size < SMALLEST_RSA_BITS:
        return None
    return key
