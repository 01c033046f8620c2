"""The customer's account through one session of the role: clients that renew themselves.

Made by the sagas from the broker's source of credentials (long steps) or from one fixed session
(the close, which must replay calls with the last one). Separate from `sessions.py` so that the
modules beside it never see STS.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from controlplane.adapters.aws.sessions import Credentials, RoleTarget, client


class Account:
    """Clients for one role in one region; safe to share between threads."""

    def __init__(
        self, target: RoleTarget, source: Callable[[], Credentials], endpoint_url: str | None
    ) -> None:
        """`source` returns credentials that are good for at least the next call."""
        self.target = target
        self._source = source
        self._endpoint_url = endpoint_url
        self._made: dict[str, tuple[Credentials, Any]] = {}
        self._lock = threading.Lock()

    @classmethod
    def fixed(
        cls, target: RoleTarget, credentials: Credentials, endpoint_url: str | None
    ) -> Account:
        """Return an account bound to one session that is never renewed."""
        return cls(target, lambda: credentials, endpoint_url)

    @property
    def region(self) -> str:
        return self.target.region

    def credentials(self) -> Credentials:
        """Return the session of this moment."""
        return self._source()

    def client(self, service: str) -> Any:
        """Return an AWS client with the session of this moment."""
        credentials = self._source()
        with self._lock:
            made = self._made.get(service)
            if made is None or made[0] is not credentials:
                made = (
                    credentials,
                    client(
                        service, credentials, region=self.region, endpoint_url=self._endpoint_url
                    ),
                )
                self._made[service] = made
            return made[1]
