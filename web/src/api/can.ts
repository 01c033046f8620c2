/**
 * What to offer to whom. The server decides (controlplane/domains/identity/route_table.py, `ROUTES`);
 * these predicates only keep the console from showing a way that ends in a refusal.
 */
import type { BoundaryOut, MeOut, RunOut } from "./schema";

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

const anywhere = (me: MeOut) => me.roles.filter((r) => !r.pending_guest).map((r) => r.role);

const inOrganization = (me: MeOut) =>
  me.roles.filter((r) => !r.pending_guest && r.boundary_id === null).map((r) => r.role);

export const can = {
  /** `GET /v1/approvals`, `GET /v1/installs` */
  seeOperations: (me: MeOut) => has(anywhere(me), STAFF),
  /** `GET /v1/boundaries/{boundary}/audit` */
  seeAudit: (me: MeOut) => has(anywhere(me), ["platform-admin", "approver", "auditor"]),
  /** `GET /v1/organizations/{name}` */
  seePeople: (me: MeOut) => has(inOrganization(me), STAFF),
  /** `GET /v1/boundaries/{boundary}/connection` */
  seeStanding: (b: BoundaryOut) => has(b.roles, STAFF),
  /** `GET /v1/boundaries/{boundary}/usage` */
  seeUsage: (b: BoundaryOut) => has(b.roles, STAFF),
  /** `POST /v1/boundaries/{boundary}/grants` */
  requestGrant: (b: BoundaryOut) => has(b.roles, ["solution-architect"]),
  /** `POST /v1/installs` */
  install: (b: BoundaryOut) => has(b.roles, ["solution-architect"]),
  /** `POST /v1/connections/{connection_id}/verifications` */
  verify: (b: BoundaryOut) => has(b.roles, ["solution-architect", "approver", "platform-admin"]),
  /** `POST /v1/grants/{grant_id}/revoke` */
  revokeGrant: (b: BoundaryOut) => has(b.roles, ["approver", "platform-admin"]),
  /** `POST /v1/boundaries/{boundary}/gateway-keys` */
  createKey: (b: BoundaryOut) => has(b.roles, ["platform-admin", "boundary-admin", "engineer"]),
  /** `…/gateway-keys/{key_id}/revoke`; an engineer only the own: entitlements/service.py `revoke_key` */
  revokeKey: (b: BoundaryOut, ownerId: string, me: MeOut) =>
    has(b.roles, ["platform-admin", "boundary-admin", "approver"]) ||
    (has(b.roles, ["engineer"]) && ownerId === me.id),
  /** domains/runs/service.py `_allowed` says what the run's state permits; the roles are the table's */
  cancelRun: (run: RunOut, b: BoundaryOut) =>
    run.can.includes("cancel") && has(b.roles, ["solution-architect", "approver"]),
  retryRun: (run: RunOut, b: BoundaryOut) =>
    run.can.includes("retry") && has(b.roles, ["solution-architect"]),
  approveRun: (run: RunOut, b: BoundaryOut, me: MeOut) =>
    run.can.includes("approve") && has(b.roles, ["approver"]) && run.requested_by !== me.id,
};

/** The first page after sign-in, by the role that says most about why somebody came. */
export function firstPage(me: MeOut): string {
  const held = anywhere(me);
  if (has(held, ["platform-admin", "solution-architect", "boundary-admin"])) return "/";
  if (has(held, ["approver"])) return "/approvals";
  if (has(held, ["auditor"])) return "/audit";
  return "/";
}
