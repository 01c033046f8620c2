/**
 * What to offer to whom. The server decides (controlplane/domains/identity/route_table.py, `ROUTES`);
 * these predicates only keep the console from showing a way that ends in a refusal.
 */
import type { Me } from "./queries";
import type { BoundaryOut, RunOut } from "./schema";

export type Role =
  | "platform-admin"
  | "solution-architect"
  | "approver"
  | "boundary-admin"
  | "engineer"
  | "auditor";

/** route_table.py `STAFF`: all who see how a boundary is built and run. */
const STAFF: readonly Role[] = [
  "platform-admin",
  "solution-architect",
  "approver",
  "boundary-admin",
  "auditor",
];

const EVIDENCE: readonly Role[] = ["platform-admin", "approver", "boundary-admin", "auditor"];

export const ROLE_LABELS: Record<Role, string> = {
  "platform-admin": "Platform administrator",
  "solution-architect": "Solution architect",
  approver: "Approver",
  "boundary-admin": "Boundary administrator",
  engineer: "Engineer",
  auditor: "Auditor",
};

const has = (held: readonly string[], roles: readonly Role[]) =>
  roles.some((role) => held.includes(role));

/** In the chosen organization, at whichever layer; a role of the platform does not count in one. */
const anywhere = (me: Me) =>
  me.roles.filter((r) => !r.pending_guest && r.organization !== null).map((r) => r.role);

const ofPlatform = (me: Me) => me.roles.filter((r) => r.organization === null).map((r) => r.role);

export const can = {
  /** Anything in the chosen organization: domains/identity/service.py `_organization_of`, `in_organization` */
  enter: (me: Me) => anywhere(me).length > 0,
  /** `GET /v1/approvals`, `GET /v1/installs` */
  seeOperations: (me: Me) => has(anywhere(me), STAFF),
  /** `GET /v1/audit/chains`, `GET /v1/reports`: route_table.py `AUDIT_READERS`, `REPORT_READERS` */
  seeAudit: (me: Me) => has(anywhere(me), EVIDENCE),
  /** `GET /v1/organizations/{name}/people` */
  seePeople: (me: Me) => has(anywhere(me), STAFF),
  /** A report on all boundaries; domains/reports/service.py `may_see_whole` */
  reportOnAll: (me: Me) =>
    me.roles.some((r) => !r.pending_guest && r.organization !== null && r.boundary_id === null && has([r.role], ["auditor", "platform-admin"])),
  /** `PUT /v1/organizations/{name}`: whoever brings an organization into being, or changes its file */
  describe: (me: Me) => has([...ofPlatform(me), ...anywhere(me)], ["platform-admin", "solution-architect"]),
  /** `GET /v1/boundaries/{boundary}/connection` */
  seeStanding: (b: BoundaryOut) => has(b.roles, STAFF),
  /** `GET /v1/boundaries/{boundary}/usage` */
  seeUsage: (b: BoundaryOut) => has(b.roles, STAFF),
  /** `POST /v1/boundaries/{boundary}/grants` */
  requestGrant: (b: BoundaryOut) => has(b.roles, ["solution-architect"]),
  /** `POST /v1/installs` */
  install: (b: BoundaryOut) => has(b.roles, ["solution-architect"]),
  /** `POST /v1/installs/{install_id}/drift/{finding_id}/proposal` */
  proposeDrift: (b: BoundaryOut) => has(b.roles, ["solution-architect", "boundary-admin"]),
  /** `POST /v1/installs/{install_id}/drift/{finding_id}/accept` */
  acceptDrift: (b: BoundaryOut) => has(b.roles, ["approver"]),
  /** `POST /v1/connections/{connection_id}/verifications` */
  verify: (b: BoundaryOut) => has(b.roles, ["solution-architect", "approver", "platform-admin"]),
  /** `POST /v1/grants/{grant_id}/revoke` */
  revokeGrant: (b: BoundaryOut) => has(b.roles, ["approver", "platform-admin"]),
  /** `POST /v1/boundaries/{boundary}/gateway-keys` */
  createKey: (b: BoundaryOut) => has(b.roles, ["platform-admin", "boundary-admin", "engineer"]),
  /** `…/gateway-keys/{key_id}/revoke`; an engineer only the own: entitlements/service.py `revoke_key` */
  revokeKey: (b: BoundaryOut, ownerId: string, me: Me) =>
    has(b.roles, ["platform-admin", "boundary-admin", "approver"]) ||
    (has(b.roles, ["engineer"]) && ownerId === me.id),
  /** domains/runs/service.py `_allowed` says what the run's state permits; the roles are the table's */
  cancelRun: (run: RunOut, b: BoundaryOut) =>
    run.can.includes("cancel") && has(b.roles, ["solution-architect", "approver"]),
  pauseRun: (run: RunOut, b: BoundaryOut) =>
    run.can.includes("pause") && has(b.roles, ["solution-architect", "approver", "boundary-admin"]),
  resumeRun: (run: RunOut, b: BoundaryOut) =>
    run.can.includes("resume") && has(b.roles, ["solution-architect", "approver"]),
  /** Four eyes as for a plan: approvals/service.py `require_second_person` */
  skipStep: (run: RunOut, b: BoundaryOut, me: Me) =>
    run.can.includes("skip") && has(b.roles, ["approver"]) && run.requested_by !== me.id,
  /** `PUT /v1/boundaries/{boundary}/windows` */
  setWindows: (b: BoundaryOut) => has(b.roles, ["boundary-admin"]),
  /** `POST /v1/boundaries/{boundary}/window-overrides` */
  requestOverride: (b: BoundaryOut) => has(b.roles, ["solution-architect", "boundary-admin"]),
  retryRun: (run: RunOut, b: BoundaryOut) =>
    run.can.includes("retry") && has(b.roles, ["solution-architect"]),
  approveRun: (run: RunOut, b: BoundaryOut, me: Me) =>
    run.can.includes("approve") && has(b.roles, ["approver"]) && run.requested_by !== me.id,
};

/** The first page after sign-in, by the role that says most about why somebody came. */
export function firstPage(me: Me): string {
  const held = anywhere(me);
  if (has(held, ["platform-admin", "solution-architect", "boundary-admin"])) return "/";
  if (has(held, ["approver"])) return "/approvals";
  if (has(held, ["auditor"])) return "/audit";
  return "/";
}
