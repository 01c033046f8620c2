"""Tags of clusters and of all that belongs to them, found by ARN.

Called by the EKS service with the state's lock held, and by the authorizer, which reads only.
"""

from __future__ import annotations

from typing import Any

from sandbox.aws.eks.state import State
from sandbox.aws.errors import AwsError
from sandbox.aws.messages import Call

_PARTS = (
    ("nodegroups", "nodegroupArn"),
    ("addons", "addonArn"),
    ("entries", "accessEntryArn"),
    ("associations", "associationArn"),
)


class Tags:
    """Tag, untag and list."""

    def __init__(self, state: State) -> None:
        """Take the state."""
        self._state = state

    def tag(self, call: Call) -> dict[str, Any]:
        """Tag a resource."""
        self._find(call).update(call.params.get("tags") or {})
        self._state.save()
        return {}

    def untag(self, call: Call) -> dict[str, Any]:
        """Untag a resource."""
        keys = call.params.get("tagKeys") or []
        tags = self._find(call)
        for key in keys if isinstance(keys, list) else [keys]:
            tags.pop(key, None)
        self._state.save()
        return {}

    def show(self, call: Call) -> dict[str, Any]:
        """List tags."""
        return {"tags": self._find(call)}

    def of(self, account: str, arn: str) -> dict[str, str] | None:
        """Return the tags of a resource by its ARN, None where there is none."""
        for cluster in self._state.clusters.values():
            if cluster["account"] != account:
                continue
            candidates = [cluster] if cluster["arn"] == arn else []
            for part, key in _PARTS:
                candidates += [one for one in cluster[part].values() if one[key] == arn]
            for one in candidates:
                tags: dict[str, str] = one["tags"]
                return tags
        return None

    def _find(self, call: Call) -> dict[str, str]:
        """Find the tags of a resource by its ARN. Raises AwsError NotFoundException."""
        arn = str(call.params["resourceArn"])
        found = self.of(call.account, arn)
        if found is None:
            raise AwsError("NotFoundException", f"Resource not found: {arn}", 404)
        return found
