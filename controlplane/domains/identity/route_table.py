"""Which role may call which route: deny by default, every route must stand here.

Read by the authorizer on each request; the permits of `policies/routes.cedar` and the published
table are written from it by `controlplane.authorization_table`. The layer says where the role
must be held: an organization's role counts for all of its boundaries, a boundary's role for that
boundary only, and the transaction's scope is cut to the boundaries in which the caller may do
*this*, so that anything else is not found.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from controlplane.tables.identity import RoleName as R

Layer = Literal[
    "public", "authenticated", "platform", "document", "organization", "boundary", "agent"
]
"""public: no caller needed. authenticated: anyone known. platform: by a role held at the platform,
and nothing of organizations. document: may apply an organization's file. agent: signed by an
agent's key."""


@dataclass(frozen=True)
class Rule:
    """Who may call a route."""

    layer: Layer
    roles: frozenset[R] = frozenset()
    action: str = ""
    """The route as policies name it, `METHOD /path`; set by `find_rule`."""


def _at(layer: Layer, *roles: R) -> Rule:
    return Rule(layer, frozenset(roles))


PUBLIC: Final = Rule("public")
AUTHENTICATED: Final = Rule("authenticated")
AGENT: Final = Rule("agent")
EVERYONE: Final = tuple(role for role in R if role is not R.PROVISIONER)
"""All people; the service that pushes people over SCIM sees nothing else of an organization."""
STAFF: Final = (
    R.PLATFORM_ADMIN,
    R.SOLUTION_ARCHITECT,
    R.APPROVER,
    R.BOUNDARY_ADMIN,
    R.AUDITOR,
)
"""All who see how a boundary is built and run; engineers only use its models."""
REPORT_READERS: Final = (R.AUDITOR, R.PLATFORM_ADMIN, R.APPROVER, R.BOUNDARY_ADMIN)
"""Who asks for evidence; a whole organization's only at the organization's layer, by the first two.
"""

AUDIT_READERS: Final = (R.PLATFORM_ADMIN, R.APPROVER, R.BOUNDARY_ADMIN, R.AUDITOR)
"""Who reads audit chains: each those of where the role is held, and nothing outward."""
KEEPERS: Final = (R.PLATFORM_ADMIN, R.BOUNDARY_ADMIN)
"""Who looks after service identities: all of them, or those of the own boundary."""

ROUTES: Final[dict[tuple[str, str], Rule]] = {
    ("GET", "/healthz"): PUBLIC,
    ("GET", "/readyz"): PUBLIC,
    ("GET", "/v1/openapi.json"): PUBLIC,
    ("GET", "/v1/me"): AUTHENTICATED,
    ("GET", "/v1/session"): PUBLIC,  # tells a browser about its own cookie
    ("GET", "/v1/sign-in/start"): PUBLIC,
    ("GET", "/v1/sign-in/callback"): PUBLIC,  # proves state, browser and code
    ("GET", "/v1/sign-in/keys"): PUBLIC,
    ("GET", "/v1/sign-in/providers/{organization}"): PUBLIC,
    ("POST", "/v1/sign-in/exchange"): PUBLIC,  # proves an ID token in its body
    ("POST", "/v1/sign-out"): AUTHENTICATED,
    ("GET", "/v1/status"): AUTHENTICATED,  # by whom and why only for staff
    ("POST", "/v1/break-glass/open"): PUBLIC,  # proves both parts of the secret
    ("POST", "/v1/break-glass/close"): AUTHENTICATED,
    ("GET", "/v1/tokens"): AUTHENTICATED,
    ("POST", "/v1/tokens"): AUTHENTICATED,
    ("POST", "/v1/tokens/{token_id}/revoke"): AUTHENTICATED,
    ("GET", "/v1/blueprints"): AUTHENTICATED,
    ("POST", "/v1/access/explain"): _at("organization", R.PLATFORM_ADMIN, R.AUDITOR),
    ("POST", "/v1/organizations:validate"): _at("document", R.PLATFORM_ADMIN, R.SOLUTION_ARCHITECT),
    ("PUT", "/v1/organizations/{name}"): _at("document", R.PLATFORM_ADMIN, R.SOLUTION_ARCHITECT),
    ("GET", "/v1/organizations/{name}"): _at("organization", *STAFF),
    ("GET", "/v1/organizations/{name}/waivers"): _at(
        "organization", R.PLATFORM_ADMIN, R.APPROVER, R.AUDITOR
    ),
    ("POST", "/v1/organizations/{name}/waivers"): _at(
        "organization", R.PLATFORM_ADMIN, R.APPROVER, R.SOLUTION_ARCHITECT
    ),
    **{
        ("POST", f"/v1/organizations/{{name}}/waivers/{{waiver_id}}/{verb}"): _at(
            "organization", R.PLATFORM_ADMIN, R.APPROVER
        )
        for verb in ("approve", "deny", "revoke")
    },
    ("GET", "/v1/approvals"): _at("boundary", *STAFF),
    ("GET", "/v1/organizations/{name}/people"): _at("boundary", *STAFF),
    ("GET", "/v1/organizations/{name}/groups"): _at("boundary", *STAFF),
    ("GET", "/v1/organizations/{name}/services"): _at("boundary", *STAFF),
    ("POST", "/v1/organizations/{name}/services"): _at("boundary", *KEEPERS),
    ("POST", "/v1/organizations/{name}/services/{service_id}/tokens"): _at("boundary", *KEEPERS),
    ("POST", "/v1/organizations/{name}/services/{service_id}/disable"): _at("boundary", *KEEPERS),
    ("GET", "/v1/boundaries"): _at("boundary", *EVERYONE),
    ("GET", "/v1/boundaries/{boundary}"): _at("boundary", *EVERYONE),
    ("GET", "/v1/boundaries/{boundary}/models"): _at("boundary", *EVERYONE),
    ("GET", "/v1/boundaries/{boundary}/connection"): _at("boundary", *STAFF),
    # An engineer sees what the own groups may use, and the own keys.
    ("GET", "/v1/boundaries/{boundary}/entitlements"): _at("boundary", *EVERYONE),
    ("GET", "/v1/boundaries/{boundary}/agent"): _at("boundary", *EVERYONE),
    ("GET", "/v1/boundaries/{boundary}/usage"): _at("boundary", *STAFF),
    ("GET", "/v1/boundaries/{boundary}/usage/summary"): _at("boundary", *STAFF),
    ("GET", "/v1/boundaries/{boundary}/usage/export"): _at("boundary", *STAFF),
    # Rows about people, where the customer lets them out: not for all who see the figures.
    ("GET", "/v1/boundaries/{boundary}/usage/events"): _at("boundary", R.BOUNDARY_ADMIN, R.AUDITOR),
    ("GET", "/v1/boundaries/{boundary}/audit"): _at(
        "boundary", R.PLATFORM_ADMIN, R.APPROVER, R.AUDITOR
    ),
    ("GET", "/v1/audit/chains"): _at("boundary", *AUDIT_READERS),
    ("GET", "/v1/audit/events"): _at("boundary", *AUDIT_READERS),
    ("GET", "/v1/audit/checkpoints"): _at("boundary", *AUDIT_READERS),
    ("GET", "/v1/audit/export"): _at("boundary", *AUDIT_READERS),
    **{
        ("GET", f"/v1/platform/audit{part}"): _at("platform", R.PLATFORM_ADMIN, R.AUDITOR)
        for part in ("", "/events", "/checkpoints", "/export")
    },
    ("GET", "/v1/boundaries/{boundary}/gateway-keys"): _at("boundary", *EVERYONE),
    ("POST", "/v1/boundaries/{boundary}/gateway-keys"): _at(
        "boundary", R.PLATFORM_ADMIN, R.BOUNDARY_ADMIN, R.ENGINEER
    ),
    ("POST", "/v1/boundaries/{boundary}/gateway-keys/{key_id}/revoke"): _at(
        "boundary", R.PLATFORM_ADMIN, R.BOUNDARY_ADMIN, R.APPROVER, R.ENGINEER
    ),
    ("GET", "/v1/connections/{connection_id}/template"): _at("boundary", *STAFF),
    ("POST", "/v1/connections/{connection_id}/verifications"): _at(
        "boundary", R.SOLUTION_ARCHITECT, R.APPROVER, R.PLATFORM_ADMIN
    ),
    ("GET", "/v1/verifications/{verification_id}"): _at("boundary", *STAFF),
    ("GET", "/v1/boundaries/{boundary}/grants"): _at("boundary", *STAFF),
    ("POST", "/v1/boundaries/{boundary}/grants"): _at("boundary", R.SOLUTION_ARCHITECT),
    ("GET", "/v1/grants/{grant_id}"): _at("boundary", *STAFF),
    ("GET", "/v1/grants/{grant_id}/permissions"): _at("boundary", *STAFF),
    ("POST", "/v1/grants/{grant_id}/approve"): _at("boundary", R.APPROVER),
    ("POST", "/v1/grants/{grant_id}/deny"): _at("boundary", R.APPROVER),
    ("POST", "/v1/grants/{grant_id}/revoke"): _at("boundary", R.APPROVER, R.PLATFORM_ADMIN),
    ("GET", "/v1/boundaries/{boundary}/windows"): _at("boundary", *STAFF),
    ("PUT", "/v1/boundaries/{boundary}/windows"): _at("boundary", R.BOUNDARY_ADMIN),
    ("POST", "/v1/boundaries/{boundary}/window-overrides"): _at(
        "boundary", R.SOLUTION_ARCHITECT, R.BOUNDARY_ADMIN
    ),
    ("POST", "/v1/boundaries/{boundary}/window-overrides/{override_id}/approve"): _at(
        "boundary", R.APPROVER
    ),
    ("POST", "/v1/installs"): _at("boundary", R.SOLUTION_ARCHITECT),
    ("GET", "/v1/installs"): _at("boundary", *STAFF),
    ("GET", "/v1/installs/{install_id}"): _at("boundary", *STAFF),
    ("GET", "/v1/installs/{install_id}/certificate"): _at("boundary", *STAFF),
    # The customer's own: who asked the vendor in does not carry the install away.
    ("POST", "/v1/installs/{install_id}/takeover"): _at("boundary", *KEEPERS),
    ("GET", "/v1/installs/{install_id}/takeover/{run_id}"): _at("boundary", *KEEPERS, R.AUDITOR),
    ("GET", "/v1/installs/{install_id}/takeover/{run_id}/archive"): _at("boundary", *KEEPERS),
    ("POST", "/v1/installs/{install_id}/drift-scans"): _at("boundary", R.SOLUTION_ARCHITECT),
    ("GET", "/v1/installs/{install_id}/drift"): _at("boundary", *STAFF),
    ("POST", "/v1/installs/{install_id}/drift/{finding_id}/proposal"): _at(
        "boundary", R.SOLUTION_ARCHITECT, R.BOUNDARY_ADMIN
    ),
    ("POST", "/v1/installs/{install_id}/drift/{finding_id}/accept"): _at("boundary", R.APPROVER),
    ("POST", "/v1/installs/{install_id}/update"): _at("boundary", R.SOLUTION_ARCHITECT),
    ("POST", "/v1/installs/{install_id}/restore"): _at("boundary", R.SOLUTION_ARCHITECT),
    ("POST", "/v1/installs/{install_id}/snapshots"): _at("boundary", R.SOLUTION_ARCHITECT),
    ("GET", "/v1/installs/{install_id}/snapshots/{run_id}"): _at("boundary", *STAFF),
    ("POST", "/v1/installs/{install_id}/removal"): _at("boundary", R.SOLUTION_ARCHITECT),
    ("GET", "/v1/runs/{run_id}"): _at("boundary", *STAFF),
    ("GET", "/v1/runs/{run_id}/plan"): _at("boundary", *STAFF),
    ("GET", "/v1/runs/{run_id}/events"): _at("boundary", *STAFF),
    ("POST", "/v1/runs/{run_id}/approve"): _at("boundary", R.APPROVER),
    ("POST", "/v1/runs/{run_id}/deny"): _at("boundary", R.APPROVER),
    ("POST", "/v1/runs/{run_id}/cancel"): _at("boundary", R.SOLUTION_ARCHITECT, R.APPROVER),
    ("POST", "/v1/runs/{run_id}/retry"): _at("boundary", R.SOLUTION_ARCHITECT),
    ("POST", "/v1/runs/{run_id}/pause"): _at(
        "boundary", R.SOLUTION_ARCHITECT, R.APPROVER, R.BOUNDARY_ADMIN
    ),
    ("POST", "/v1/runs/{run_id}/resume"): _at("boundary", R.SOLUTION_ARCHITECT, R.APPROVER),
    ("POST", "/v1/runs/{run_id}/skip"): _at("boundary", R.APPROVER),
    ("POST", "/v1/reports"): _at("boundary", *REPORT_READERS),
    ("GET", "/v1/reports"): _at("boundary", *REPORT_READERS),
    ("GET", "/v1/reports/{report_id}"): _at("boundary", *REPORT_READERS),
    ("GET", "/v1/reports/{report_id}/rows"): _at("boundary", *REPORT_READERS),
    ("GET", "/v1/reports/{report_id}/files/{format}"): _at("boundary", *REPORT_READERS),
    ("POST", "/v1/boundaries/{boundary}/trail-extracts"): _at("boundary", *REPORT_READERS),
    ("GET", "/v1/boundaries/{boundary}/trail-extracts"): _at("boundary", *REPORT_READERS),
    **{
        (method, f"/scim/v2/{kind}"): _at("organization", R.PROVISIONER)
        for kind in ("Users", "Groups")
        for method in ("GET", "POST")
    },
    ("POST", "/scim/v2/.search"): _at("organization", R.PROVISIONER),
    ("POST", "/scim/v2/Users/.search"): _at("organization", R.PROVISIONER),
    ("POST", "/scim/v2/Groups/.search"): _at("organization", R.PROVISIONER),
    **{
        (method, f"/scim/v2/{path}"): _at("organization", R.PROVISIONER)
        for path in ("Users/{user_id}", "Groups/{group_id}")
        for method in ("GET", "PUT", "PATCH", "DELETE")
    },
    ("GET", "/scim/v2/ServiceProviderConfig"): _at("organization", R.PROVISIONER),
    ("GET", "/scim/v2/ResourceTypes"): _at("organization", R.PROVISIONER),
    ("GET", "/scim/v2/ResourceTypes/{wanted}"): _at("organization", R.PROVISIONER),
    ("GET", "/scim/v2/Schemas"): _at("organization", R.PROVISIONER),
    ("GET", "/scim/v2/Schemas/{wanted}"): _at("organization", R.PROVISIONER),
    ("GET", "/scim/v2/{rest}"): _at("organization", R.PROVISIONER),
    ("POST", "/agent/v1/enrol"): PUBLIC,  # proves a one-time token in its body
    ("GET", "/agent/v1/desired"): AGENT,
    ("POST", "/agent/v1/status"): AGENT,
    ("POST", "/agent/v1/usage"): AGENT,
    ("POST", "/agent/v1/usage-events"): AGENT,
    ("POST", "/agent/v1/verb-results"): AGENT,
    ("GET", "/agent/v1/checkpoints"): AGENT,
    ("POST", "/agent/v1/checkpoints"): AGENT,
}


DOWNLOADS: Final[frozenset[tuple[str, str]]] = frozenset(
    {
        ("GET", "/v1/audit/export"),
        ("GET", "/v1/reports/{report_id}/files/{format}"),
        ("GET", "/v1/boundaries/{boundary}/usage/export"),
    }
)
"""What a browser saves straight to disk: a link carries no header, so these name the organization
in their query as well."""


def find_rule(method: str, path: str) -> Rule | None:
    """Return the rule of a route; None means that nobody may call it."""
    rule = ROUTES.get((method, path))
    return None if rule is None else replace(rule, action=f"{method} {path}")
