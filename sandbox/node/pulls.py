"""Get images as a node does: from the registry that the reference names.

Called before each start of a container. The account answers for its own registry, with the node's
role; an image of another registry stands for its entry of the image table and is not looked at
(emulation: the vendor's registry holds the same entries). What a node has it keeps.
"""

from __future__ import annotations

import aiohttp

from sandbox.cluster.settings import ClusterSettings
from sandbox.node.images import ImageError

REASON = "ErrImagePull"


class ImagePulls:
    """What the nodes of one cluster have pulled."""

    def __init__(self, settings: ClusterSettings) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None
        self._held: set[tuple[str, str]] = set()

    async def start(self) -> None:
        """Open the way to the account, where there is one."""
        if self._settings.gate_socket is None:
            return
        self._session = aiohttp.ClientSession(
            "http://gate",
            connector=aiohttp.UnixConnector(self._settings.gate_socket),
            timeout=aiohttp.ClientTimeout(total=30),
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def require(self, node: str, reference: str) -> None:
        """Have an image on a node. Raises: ImageError with why it cannot be had."""
        # Only a name with a registry's port can be the account's; the others need no question.
        if self._session is None or ":" not in reference.partition("/")[0]:
            return
        if (node, reference) in self._held:
            return
        path = f"/_rehearsal/eks/{self._settings.name}/pull"
        body = {"node": node, "reference": reference}
        try:
            async with self._session.post(path, json=body) as response:
                answer = await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ImageError(REASON, f"{reference}: the registry does not answer") from error
        if response.status != 200:
            raise ImageError(REASON, str((answer or {}).get("message") or "not pulled"))
        self._held.add((node, reference))
