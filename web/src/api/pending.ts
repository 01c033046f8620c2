/**
 * Shapes of routes that are not in the generated client of this version. Each moves to
 * `schema.d.ts` by `npm run generate` once the server has it; until then a page says that it is not
 * available on this server (`isMissingRoute`).
 */
import { callPending } from "./client";

export interface Session {
  state: "signed-out" | "signed-in";
  person: { id: string; subject: string; display: string } | null;
  csrf_token: string | null;
  idle_ends_at: string | null;
  ends_at: string | null;
}

export interface UsageMetric {
  key: string;
  label: string;
  unit: string;
  value: number | null;
  numerator: number | null;
  denominator: number | null;
  formula: string;
}

export interface UsageSummary {
  as_of: string;
  is_final: boolean;
  from: string;
  to: string;
  export: string | null;
  synthetic: boolean;
  metrics: UsageMetric[];
  rows: { by: string; metrics: Record<string, number | null> }[];
}

export interface Chain {
  chain: string;
  events: number;
  head_hash?: string | null;
  last_event_at?: string | null;
  last_checkpoint: { seq: number; at: string; digest?: string | null } | null;
}

export interface AuditEvent {
  seq: number;
  at: string;
  code: string;
  actor: Record<string, unknown>;
  request_id: string;
  target: string;
  detail: Record<string, unknown>;
  hash: string;
}

export interface AuditPage {
  events: AuditEvent[];
  next_after: number | null;
}

export interface Report {
  id: string;
  kind: "R1" | "R3" | (string & {});
  boundary: string;
  state: string;
  at?: string | null;
  from?: string | null;
  to?: string | null;
  requested_at: string;
  finished_at?: string | null;
  rows?: number | null;
  digest?: string | null;
  error_message?: string | null;
}

export interface Token {
  id: string;
  name: string;
  created_at: string;
  expires_at: string;
  last_used_at?: string | null;
  revoked_at: string | null;
}

export interface PersonRole {
  role: string;
  boundary: string | null;
  through?: string | null;
}

export interface DirectoryPerson {
  id: string;
  subject: string;
  display: string;
  issuer?: string;
  active?: boolean;
  roles: PersonRole[];
  groups?: string[];
  last_seen_at?: string | null;
}

const encode = encodeURIComponent;

export function query(params: Record<string, string | number | undefined | null>): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(params)) {
    if (value !== undefined && value !== null && value !== "") search.set(key, String(value));
  }
  const text = search.toString();
  return text ? `?${text}` : "";
}

export const pending = {
  session: () => callPending<Session>("GET", "/v1/session"),
  signOut: () => callPending<void>("POST", "/v1/sign-out", {}),
  usage: (boundary: string, from: string, to: string, by: string) =>
    callPending<UsageSummary>(
      "GET",
      `/v1/boundaries/${encode(boundary)}/usage/summary${query({ from, to, by })}`,
    ),
  chains: () => callPending<{ chains: Chain[] }>("GET", "/v1/audit/chains"),
  events: (chain: string, after: number, limit: number, code?: string) =>
    callPending<AuditPage>("GET", `/v1/audit/events${query({ chain, after, limit, code })}`),
  exportPath: (chain: string) => `/v1/audit/export${query({ chain })}`,
  reports: () => callPending<{ reports: Report[] }>("GET", "/v1/reports"),
  requestReport: (body: Record<string, unknown>) =>
    callPending<{ id: string }>("POST", "/v1/reports", body),
  reportFile: (id: string, kind: "json" | "csv" | "pdf") =>
    `/v1/reports/${encode(id)}/files/${kind}`,
  tokens: () => callPending<{ tokens: Token[] }>("GET", "/v1/tokens"),
  createToken: (body: { name: string; expires_in_days: number }) =>
    callPending<Token & { token: string }>("POST", "/v1/tokens", body),
  revokeToken: (id: string) => callPending<void>("POST", `/v1/tokens/${encode(id)}/revoke`, {}),
  people: (organization: string) =>
    callPending<{ people: DirectoryPerson[] }>(
      "GET",
      `/v1/organizations/${encode(organization)}/people`,
    ),
};
