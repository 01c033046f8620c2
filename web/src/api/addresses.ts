/**
 * Addresses that the browser itself goes to, outside the client: downloads, which go straight to
 * disk however large they are, and the sign-in. A link carries no header, so a download names the
 * organization in its query (controlplane/domains/identity/route_table.py, `DOWNLOADS`).
 */
import { carriedOrganization } from "./client";

/** Return a path with its query; what is undefined, null or empty is left out. */
export function address(path: string, query: Record<string, string | undefined | null>): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) if (value) search.set(key, value);
  const text = search.toString();
  return text ? `${path}?${text}` : path;
}

const download = (path: string, query: Record<string, string> = {}) =>
  address(path, { ...query, organization: carriedOrganization() });

export const signInStart = (organization: string, returnTo: string) =>
  address("/v1/sign-in/start", { organization, return_to: returnTo });

export const auditExport = (chain: string) => download("/v1/audit/export", { chain });

export const reportFile = (id: string, format: string) =>
  download(`/v1/reports/${encodeURIComponent(id)}/files/${encodeURIComponent(format)}`);

export const usageExport = (boundary: string, from: string, to: string) =>
  download(`/v1/boundaries/${encodeURIComponent(boundary)}/usage/export`, { from, to });
