"""What a failed or waiting run most likely suffers from, and the safe next action. Pure.

Called by `service` for `GET /v1/runs/{id}`. One table, which docs/reference/run-failures.md shows
too, so that console, command line and documentation say the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Remedy:
    """Why it usually happens, and what is safe to do now; `{run}` stands for the run's id."""

    cause: str
    next_action: str


_RETRY: Final = "ringfence run retry {run}"
_KIT: Final = "then ask for the take-over kit again"
_AGAIN: Final = "ask for the install again; nothing of this run is left"

REMEDIES: Final[dict[str, Remedy]] = {
    "awaiting-approval": Remedy(
        "the plan is written and nothing is built before a second person approves it",
        "read it: ringfence run plan {run}; another person approves or denies it",
    ),
    "waiting-for-grant": Remedy(
        "the grant is over, or shorter than the applies and the close may take",
        f"open a new grant, then {_RETRY}",
    ),
    "paused": Remedy(
        "a person paused it, or the boundary's maintenance windows are closed",
        "ringfence run resume {run}; outside a window it waits for the next one or an override",
    ),
    "preflight-failed": Remedy(
        "the account is not ready for the install; nothing was made",
        f"mend what the checks name, then {_AGAIN}",
    ),
    "wrong-pin": Remedy(
        "the role's stack was made from a template of another control-plane key",
        "let the customer update the role's stack with this connection's template",
    ),
    "aws-denied": Remedy(
        "the role lacks an action: the stack's template is older than the blueprint, or a policy"
        " of the organization (SCP) forbids it",
        "compare the permission in the message with the approved template; after the customer's"
        f" update, {_RETRY}",
    ),
    "aws-session-ended": Remedy(
        "the role was closed, deleted or its grant ended while the run was under way",
        f"open a new grant, then {_RETRY}",
    ),
    "aws-throttled": Remedy(
        "the account's request rate or a service quota is used up",
        f"wait, or raise the quota that the message names; then {_RETRY}",
    ),
    "aws-refused": Remedy(
        "AWS refused the call for the reason in the message, often a name or range in use",
        f"mend it in the account or in the inputs, then {_RETRY}",
    ),
    "aws-unreachable": Remedy(
        "no answer from AWS: network, proxy or endpoint of the control plane",
        f"check the way out of the worker, then {_RETRY}",
    ),
    "engine-failed": Remedy(
        "a resource could not be made or changed; the message is the provider's",
        f"mend what it names, then {_RETRY}",
    ),
    "engine-timeout": Remedy(
        "the engine took longer than its limit; the resource may still be in the making",
        f"{_RETRY}: what exists is looked up and adopted, nothing is made twice",
    ),
    "engine-memory": Remedy(
        "the engine needed more memory than it may have",
        "raise the worker's limit or split the stack; then " + _RETRY,
    ),
    "engine-died": Remedy(
        "the engine's process was ended from outside",
        f"{_RETRY}: its state is recovered first, nothing is made twice",
    ),
    "residue": Remedy(
        "resources are left after a destruction, often held by something outside this install",
        f"remove what holds them, then {_RETRY}",
    ),
    "no-grant": Remedy(
        "the grant ended before the run could read the account",
        "open a new grant, then ask again",
    ),
    "unclear-refresh": Remedy(
        "so much of a stack is not found that the account, its region or its API may be the wrong"
        " one or not answer: unreachable is not gone",
        "look in the account; if it is really gone, ask for a removal",
    ),
    "would-replace": Remedy(
        "the update changes an input that the network, the cluster or the customer's data cannot"
        " follow; nothing was applied",
        "leave that input as it was; or remove the install, which keeps its data, and install it"
        " anew",
    ),
    "lost-cluster": Remedy(
        "the cluster was deleted in the account, and with it all that ran in it",
        "ringfence install restore INSTALL makes it anew on the data that is there",
    ),
    "wrong-copy": Remedy(
        "a model's file or an image in the account is not the one that was sent",
        f"{_RETRY}: it is copied and checked again",
    ),
    "wrong-digest": Remedy(
        "a model's file or an image is not what catalog or release say",
        "register the right file; then " + _RETRY,
    ),
    "no-repository": Remedy(
        "a repository of the boundary was deleted in the account",
        "ringfence install restore INSTALL makes it anew, and the images are copied again",
    ),
    "image-not-found": Remedy(
        "our registry does not have an image that this deployment names",
        f"name one that is there in RINGFENCE_IMAGES_FILE, then {_RETRY}",
    ),
    "registry-refused": Remedy(
        "our registry does not let the worker read an image",
        f"let it read, or name a mirror in RINGFENCE_IMAGES_FILE, then {_RETRY}",
    ),
    "registry-unavailable": Remedy(
        "a registry does not answer: ours, the customer's, or the network between",
        f"check the way out of the worker, then {_RETRY}",
    ),
    "database-unreachable": Remedy(
        "the control plane's own database was away, again and again; the cloud did nothing wrong",
        f"see that the database is up, then {_RETRY}",
    ),
    "over-budget": Remedy(
        "the step took more than twice its budget and was stopped",
        f"see what it waited for in the events, then {_RETRY}",
    ),
    "interrupted": Remedy(
        "another step failed, or a person cancelled; this one was only stopped",
        "look at the step that failed first",
    ),
    "pending-operations": Remedy(
        "an engine was ended in the middle of a resource, and no run has put its state in"
        " order since",
        f"let a run of the install end; {_KIT}",
    ),
    "program-changed": Remedy(
        "the control plane holds other programs than those the install was made from",
        f"update the install to the registered version; {_KIT}",
    ),
    "chart-changed": Remedy(
        "the control plane holds another chart than the one in the cluster",
        f"update the install; {_KIT}",
    ),
    "images-changed": Remedy(
        "the control plane was given other images than those the install runs",
        f"update the install; {_KIT}",
    ),
    "internal": Remedy(
        "a fault of ours; its details are in the worker's log under the run's id",
        f"{_RETRY}; if it fails again, report it with the run's id",
    ),
}
_PROVIDER: Final = (
    ("AccessDenied", "aws-denied"),
    ("UnauthorizedOperation", "aws-denied"),
    ("not authorized to perform", "aws-denied"),
    ("ExpiredToken", "aws-session-ended"),
    ("InvalidClientTokenId", "aws-session-ended"),
    ("Throttl", "aws-throttled"),
    ("RequestLimitExceeded", "aws-throttled"),
    ("LimitExceeded", "aws-throttled"),
    ("QuotaExceeded", "aws-throttled"),
)
"""Words of the provider in an engine's message, and the code whose remedy fits better."""


def remedy_for(state: str, code: str | None, message: str | None) -> Remedy | None:
    """Return the remedy of a parked or failed run; None when nothing is wrong or known."""
    if code == "engine-failed":
        code = next((better for word, better in _PROVIDER if word in (message or "")), code)
    if code is not None and code in REMEDIES:
        return REMEDIES[code]
    return REMEDIES.get(state)
