"""Keep the audit's checkpoints in the customer's bucket, and be their witness.

Run by `agent.main` on a timer. Each checkpoint must be signed by the pinned key, be of this
boundary's chain, and prove that it only adds to the last one kept; nothing is ever overwritten. One
that contradicts what is kept is put beside it as evidence and never reported as anchored.
Source: access.md 6, ADR 0019.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

import structlog

from agent.bundles import Trust
from agent.cloud import Cloud
from agent.control_plane import ControlPlane
from agent.identity import Volume
from proof.audit_chain import CheckpointError, check_succession, open_checkpoint
from proof.canonical import canonical_bytes
from proof.keys import fingerprint
from wire.audit import Checkpoint, CheckpointAnchored, SignedCheckpoint

log = structlog.get_logger("agent.anchors")
PREFIX = "audit/checkpoints"


@dataclass(frozen=True)
class Anchors:
    """One pass per tick; what was kept last is on the agent's volume."""

    control_plane: ControlPlane
    cloud: Cloud
    volume: Volume
    trust: Trust
    bucket: str

    async def run_once(self) -> None:
        """Keep what is new, in order; stop at the first that does not follow.

        Raises: ControlPlaneError, CloudError, aiohttp.ClientError; the caller backs off.
        """
        batch = await self.control_plane.checkpoints()
        for signed in batch.checkpoints:
            try:
                checkpoint = self._accept(signed)
                await self._follow(signed, checkpoint)
            except CheckpointError as error:
                log.error("checkpoint refused", reason=str(error))
                return
            location = await self._keep(object_name(checkpoint), signed)
            last = self.volume.anchored()
            if last is None or last.size < checkpoint.size:
                self.volume.save_anchored(checkpoint)
            await self.control_plane.push_anchored(
                CheckpointAnchored(size=checkpoint.size, root=checkpoint.root, location=location)
            )

    def _accept(self, signed: SignedCheckpoint) -> Checkpoint:
        """Return a checkpoint of ours. Raises: CheckpointError."""
        pins = frozenset({fingerprint(self.trust.control_plane)})
        checkpoint, _ = open_checkpoint(signed, pins)
        if not checkpoint.chain_id == checkpoint.boundary_id == self.trust.boundary_id:
            raise CheckpointError(f"it is of {checkpoint.chain}, not of this boundary")
        return checkpoint

    async def _follow(self, signed: SignedCheckpoint, checkpoint: Checkpoint) -> None:
        """Check it against what was kept last. Raises: CheckpointError."""
        last = self.volume.anchored() or await self._kept_before(checkpoint)
        try:
            if last is not None and checkpoint.size <= last.size:
                await self._same_as_kept(checkpoint)
            elif last is not None:
                check_succession(last, signed, checkpoint)
        except CheckpointError:
            # Signed by the vendor and yet another history: that is what the customer must see.
            name = f"{PREFIX}/refused-{checkpoint.size:020}-{checkpoint.root[7:23]}.json"
            await self._keep(name, signed)
            raise

    async def _kept_before(self, checkpoint: Checkpoint) -> Checkpoint | None:
        """Return the checkpoint that this one names, from the bucket: a new agent kept none yet."""
        if checkpoint.previous is None:
            return None
        name = f"{PREFIX}/{checkpoint.previous.size:020}.json"
        return await self._read(name)

    async def _same_as_kept(self, checkpoint: Checkpoint) -> None:
        """Check that an earlier size is what was kept for it: only the report of it was lost."""
        kept = await self._read(object_name(checkpoint))
        if kept is None or kept.root != checkpoint.root:
            raise CheckpointError(
                f"checkpoint {checkpoint.size} {checkpoint.root} is older than what is kept, and"
                " not among it"
            )

    async def _read(self, name: str) -> Checkpoint | None:
        data = await asyncio.to_thread(self.cloud.read_object, self.bucket, name)
        if data is None:
            return None
        try:
            return self._accept(SignedCheckpoint.from_wire(json.loads(data)))
        except ValueError as error:
            raise CheckpointError(f"what the bucket has as {name} cannot be read") from error

    async def _keep(self, name: str, signed: SignedCheckpoint) -> str:
        """Put it into the bucket once; the same again is fine. Raises: CloudError."""
        body = canonical_bytes(signed.to_wire())
        await asyncio.to_thread(self.cloud.put_once, self.bucket, name, body)
        return f"s3://{self.bucket}/{name}"


def object_name(checkpoint: Checkpoint) -> str:
    """Return where a checkpoint is kept; names sort by size."""
    return f"{PREFIX}/{checkpoint.size:020}.json"
