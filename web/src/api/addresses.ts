/**
 * Addresses that the browser itself goes to, outside the client: downloads and the sign-in. A
 * download carries no header, so it is of the one organization that the caller has a role in.
 */

/** Return a path with its query; what is undefined, null or empty is left out. */
export function address(path: string, query: Record<string, string | undefined | null>): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) if (value) search.set(key, value);
  const text = search.toString();
  return text ? `${path}?${text}` : path;
}

export const signInStart = (organization: string, returnTo: string) =>
  address("/v1/sign-in/start", { organization, return_to: returnTo });

export const auditExport = (chain: string) => address("/v1/audit/export", { chain });

export const reportFile = (id: string, format: string) =>
  `/v1/reports/${encodeURIComponent(id)}/files/${encodeURIComponent(format)}`;
