/** What pages read, as query options: a loader awaits them, a page reads them from the cache. */
import { queryOptions } from "@tanstack/react-query";
import { api, carryCsrf, carryOrganization, unwrap } from "./client";
import type { By, MeOut } from "./schema";

const LIVE_MS = 10_000;
/** How often lists of what changes by itself are asked for again while a page shows them. */
const MAKING_MS = 1_500;
/** How often a report is asked for that is being made. */

export const sessionQuery = queryOptions({
  queryKey: ["session"],
  staleTime: 60_000,
  queryFn: async () => {
    const session = await unwrap(api.GET("/v1/session"));
    carryCsrf(session.csrf_token);
    return session;
  },
});

/** Who is signed in, as they stand in the chosen organization. */
export interface Me extends MeOut {
  /** The chosen one; null for somebody without any. */
  organization: string | null;
  /** All in which they have a role, by name. */
  organizations: string[];
  /** Those that count here: in the chosen organization, or at the platform. */
  roles: MeOut["roles"];
}

export const meQuery = queryOptions({
  queryKey: ["me"],
  staleTime: 300_000,
  queryFn: async (): Promise<Me> => {
    const me = await unwrap(api.GET("/v1/me"));
    const organizations = organizationsOf(me);
    const organization = chosenOrganization(organizations);
    carryOrganization(organization);
    const roles = me.roles.filter((r) => r.organization === null || r.organization === organization);
    return { ...me, organization, organizations, roles };
  },
});

export const boundariesQuery = queryOptions({
  queryKey: ["boundaries"],
  refetchInterval: LIVE_MS,
  queryFn: async () => (await unwrap(api.GET("/v1/boundaries"))).boundaries,
});

export const boundaryQuery = (boundary: string) =>
  queryOptions({
    queryKey: ["boundaries", boundary],
    refetchInterval: LIVE_MS,
    queryFn: () =>
      unwrap(api.GET("/v1/boundaries/{boundary}", { params: { path: { boundary } } })),
  });

export const approvalsQuery = queryOptions({
  queryKey: ["approvals"],
  refetchInterval: LIVE_MS,
  queryFn: async () => (await unwrap(api.GET("/v1/approvals"))).approvals,
});

export const installsQuery = queryOptions({
  queryKey: ["installs"],
  refetchInterval: LIVE_MS,
  queryFn: async () => (await unwrap(api.GET("/v1/installs"))).installs,
});

export const installQuery = (id: string) =>
  queryOptions({
    queryKey: ["installs", id],
    queryFn: () =>
      unwrap(api.GET("/v1/installs/{install_id}", { params: { path: { install_id: id } } })),
  });

export const driftQuery = (installId: string) =>
  queryOptions({
    queryKey: ["installs", installId, "drift"],
    queryFn: () =>
      unwrap(api.GET("/v1/installs/{install_id}/drift", { params: { path: { install_id: installId } } })),
  });

export const runQuery = (id: string) =>
  queryOptions({
    queryKey: ["runs", id],
    queryFn: () => unwrap(api.GET("/v1/runs/{run_id}", { params: { path: { run_id: id } } })),
  });

export const planQuery = (id: string) =>
  queryOptions({
    queryKey: ["runs", id, "plan"],
    queryFn: () => unwrap(api.GET("/v1/runs/{run_id}/plan", { params: { path: { run_id: id } } })),
  });

export const certificateQuery = (installId: string) =>
  queryOptions({
    queryKey: ["installs", installId, "certificate"],
    queryFn: () =>
      unwrap(
        api.GET("/v1/installs/{install_id}/certificate", {
          params: { path: { install_id: installId } },
        }),
      ),
  });

export const grantQuery = (id: string) =>
  queryOptions({
    queryKey: ["grants", id],
    queryFn: () =>
      unwrap(api.GET("/v1/grants/{grant_id}", { params: { path: { grant_id: id } } })),
  });

export const grantsQuery = (boundary: string) =>
  queryOptions({
    queryKey: ["boundaries", boundary, "grants"],
    queryFn: async () =>
      (
        await unwrap(
          api.GET("/v1/boundaries/{boundary}/grants", { params: { path: { boundary } } }),
        )
      ).grants,
  });

export const windowsQuery = (boundary: string) =>
  queryOptions({
    queryKey: ["boundaries", boundary, "windows"],
    refetchInterval: LIVE_MS,
    queryFn: () =>
      unwrap(api.GET("/v1/boundaries/{boundary}/windows", { params: { path: { boundary } } })),
  });

export const connectionQuery = (boundary: string) =>
  queryOptions({
    queryKey: ["boundaries", boundary, "connection"],
    queryFn: () =>
      unwrap(
        api.GET("/v1/boundaries/{boundary}/connection", { params: { path: { boundary } } }),
      ),
  });

/** What a grant asks for does not change, and neither does what was open before it. */
export const permissionsQuery = (grantId: string) =>
  queryOptions({
    queryKey: ["grants", grantId, "permissions"],
    staleTime: 300_000,
    queryFn: () =>
      unwrap(
        api.GET("/v1/grants/{grant_id}/permissions", { params: { path: { grant_id: grantId } } }),
      ),
  });

export const modelsQuery = (boundary: string) =>
  queryOptions({
    queryKey: ["boundaries", boundary, "models"],
    queryFn: async () =>
      (
        await unwrap(
          api.GET("/v1/boundaries/{boundary}/models", { params: { path: { boundary } } }),
        )
      ).models,
  });

export const entitlementsQuery = (boundary: string) =>
  queryOptions({
    queryKey: ["boundaries", boundary, "entitlements"],
    queryFn: async () =>
      (
        await unwrap(
          api.GET("/v1/boundaries/{boundary}/entitlements", { params: { path: { boundary } } }),
        )
      ).entitlements,
  });

export const agentQuery = (boundary: string) =>
  queryOptions({
    queryKey: ["boundaries", boundary, "agent"],
    refetchInterval: LIVE_MS,
    queryFn: () =>
      unwrap(api.GET("/v1/boundaries/{boundary}/agent", { params: { path: { boundary } } })),
  });

export const keysQuery = (boundary: string) =>
  queryOptions({
    queryKey: ["boundaries", boundary, "keys"],
    queryFn: async () =>
      (
        await unwrap(
          api.GET("/v1/boundaries/{boundary}/gateway-keys", { params: { path: { boundary } } }),
        )
      ).keys,
  });

export const usageQuery = (boundary: string, from: string, to: string, by: By) =>
  queryOptions({
    queryKey: ["boundaries", boundary, "usage", from, to, by],
    queryFn: () =>
      unwrap(
        api.GET("/v1/boundaries/{boundary}/usage/summary", {
          params: { path: { boundary }, query: { from, to, by } },
        }),
      ),
  });

export const chainsQuery = queryOptions({
  queryKey: ["audit", "chains"],
  queryFn: async () => (await unwrap(api.GET("/v1/audit/chains"))).chains,
});

export const readEvents = (chain: string, after: number, limit: number, code?: string) =>
  unwrap(api.GET("/v1/audit/events", { params: { query: { chain, after, limit, code } } }));

export const reportsQuery = queryOptions({
  queryKey: ["reports"],
  refetchInterval: (query) =>
    query.state.data?.some((report) => report.finished_at === null)
      ? MAKING_MS
      : false,
  queryFn: async () => (await unwrap(api.GET("/v1/reports"))).reports,
});

export const reportQuery = (id: string) =>
  queryOptions({
    queryKey: ["reports", id],
    refetchInterval: (query) => (query.state.data?.finished_at === null ? MAKING_MS : false),
    queryFn: () => unwrap(api.GET("/v1/reports/{report_id}", { params: { path: { report_id: id } } })),
  });

export const readReportRows = (id: string, after: number, limit: number) =>
  unwrap(
    api.GET("/v1/reports/{report_id}/rows", {
      params: { path: { report_id: id }, query: { after, limit } },
    }),
  );

export const tokensQuery = queryOptions({
  queryKey: ["tokens"],
  // Whoever comes back to look whether a token was used shall not read what was before.
  staleTime: 0,
  queryFn: async () => (await unwrap(api.GET("/v1/tokens"))).tokens,
});

export const peopleQuery = (organization: string) =>
  queryOptions({
    queryKey: ["organizations", organization, "people"],
    queryFn: async () =>
      (
        await unwrap(
          api.GET("/v1/organizations/{name}/people", { params: { path: { name: organization } } }),
        )
      ).people,
  });

export const organizationQuery = (name: string) =>
  queryOptions({
    queryKey: ["organizations", name],
    queryFn: () =>
      unwrap(api.GET("/v1/organizations/{name}", { params: { path: { name } } })),
  });

/** The organizations in which somebody has a role, by name. */
export function organizationsOf(me: { roles: { organization: string | null }[] }): string[] {
  return [...new Set(me.roles.map((r) => r.organization).filter((n) => n !== null))].sort();
}

const ORGANIZATION = "ringfence.organization";

/** The organization that requests name: the one chosen in this tab, else last chosen, else the first. */
export function chosenOrganization(known: string[]): string | null {
  const chosen = [sessionStorage, localStorage].map((kept) => kept.getItem(ORGANIZATION));
  return chosen.find((name) => name !== null && known.includes(name)) ?? known[0] ?? null;
}

/** Begin anew in another organization: a whole load, so that nothing of the last one stays. */
export function chooseOrganization(name: string) {
  sessionStorage.setItem(ORGANIZATION, name);
  localStorage.setItem(ORGANIZATION, name);
  window.location.assign("/welcome");
}
