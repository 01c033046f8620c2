/**
 * Shapes of routes that are not in the generated client of this version. Each moves to
 * `schema.d.ts` by `npm run generate` once the server has it; until then a page says that it is not
 * available on this server (`isMissingRoute`).
 */
import { callPending } from "./client";

interface Signed {
  size: number;
  root: string;
  at: string;
}

export interface Chain {
  name: string;
  chain_id: string;
  size: number;
  head_hash: string | null;
  /** The newest signed state. */
  checkpoint: Signed | null;
  /** The newest state that is in the customer's own bucket. */
  anchored: Signed | null;
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
  kind: string;
  boundary: string | null;
  parameters: Record<string, string>;
  state: string;
  requested_by: { display: string };
  requested_at: string;
  finished_at: string | null;
  row_count: number | null;
  findings: number | null;
  root: string | null;
  error: string | null;
  files: { format: string; digest: string; size_bytes: number }[];
}

export interface Token {
  id: string;
  name: string;
  prefix: string;
  holder: { id: string; display: string };
  state: "active" | "expired" | "revoked";
  boundary: string | null;
  roles: string[] | null;
  created_at: string;
  expires_at: string;
  last_used_at: string | null;
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
  chains: () => callPending<{ chains: Chain[] }>("GET", "/v1/audit/chains"),
  events: (chain: string, after: number, limit: number, code?: string) =>
    callPending<AuditPage>("GET", `/v1/audit/events${query({ chain, after, limit, code })}`),
  exportPath: (chain: string) => `/v1/audit/export${query({ chain })}`,
  reports: () => callPending<{ reports: Report[] }>("GET", "/v1/reports"),
  requestReport: (body: Record<string, unknown>) =>
    callPending<{ id: string }>("POST", "/v1/reports", body),
  reportFile: (id: string, kind: string) =>
    `/v1/reports/${encode(id)}/files/${kind}`,
  tokens: () => callPending<{ tokens: Token[] }>("GET", "/v1/tokens"),
  createToken: (body: { name: string; lifetime_days: number }) =>
    callPending<Token & { token: string }>("POST", "/v1/tokens", body),
  revokeToken: (id: string) => callPending<void>("POST", `/v1/tokens/${encode(id)}/revoke`, {}),
};
