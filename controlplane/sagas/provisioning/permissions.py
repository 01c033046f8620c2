"""How many actions the one role may call; stated in the certificate.

Called by the step `preflight`. Separate because it reads the role's statements, not the account.
"""

from __future__ import annotations

from iam.role_template import split_policies


def granted_actions() -> int:
    """Return the number of distinct actions that the role's statements allow."""
    actions: set[str] = set()
    for policy in split_policies():
        for statement in policy:
            if statement.get("Effect") == "Allow":
                named = statement.get("Action", [])
                actions.update([named] if isinstance(named, str) else named)
    return len(actions)
