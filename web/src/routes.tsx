/** The whole route tree. Routes hold the state: what a page shows can be linked to and reloaded. */
import type { QueryClient } from "@tanstack/react-query";
import {
  createRootRouteWithContext,
  createRoute,
  createRouter,
  lazyRouteComponent,
  Outlet,
  redirect,
} from "@tanstack/react-router";
import { can, firstPage } from "./api/can";
import {
  approvalsQuery,
  boundariesQuery,
  boundaryQuery,
  installQuery,
  meQuery,
  reportQuery,
  runQuery,
  sessionQuery,
} from "./api/queries";
import { RouteError } from "./components/ErrorState";
import { Waiting } from "./components/Waiting";
import { Shell } from "./layouts/Shell";
import { NotFound } from "./pages/NotFound";
import { queryClient, whenSignedOut } from "./queryClient";

interface Context {
  queryClient: QueryClient;
}

interface SignInSearch {
  return_to?: string;
  error?: string;
  organization?: string;
}

const text = (value: unknown) => (typeof value === "string" && value ? value : undefined);
const count = (value: unknown) => (Number.isInteger(Number(value)) && Number(value) > 0 ? Number(value) : undefined);

const rootRoute = createRootRouteWithContext<Context>()({
  component: Outlet,
  // Outside the frame, so it brings the page's own landmark.
  notFoundComponent: () => (
    <main>
      <NotFound />
    </main>
  ),
});

const signInRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: "/sign-in",
  validateSearch: (search): SignInSearch => ({
    return_to: text(search.return_to),
    error: text(search.error),
    organization: text(search.organization),
  }),
  component: lazyRouteComponent(() => import("./pages/SignIn"), "SignIn"),
});

const shellRoute = createRoute({
  getParentRoute: () => rootRoute,
  id: "shell",
  beforeLoad: async ({ context, location }) => {
    const session = await context.queryClient.ensureQueryData(sessionQuery);
    if (session.state !== "signed-in") {
      throw redirect({ to: "/sign-in", search: { return_to: location.href } });
    }
    await context.queryClient.ensureQueryData(meQuery);
  },
  component: Shell,
});

const homeRoute = createRoute({
  getParentRoute: () => shellRoute,
  path: "/",
  loader: async ({ context }) => {
    const me = await context.queryClient.ensureQueryData(meQuery);
    if (can.enter(me)) await context.queryClient.ensureQueryData(boundariesQuery);
  },
  component: lazyRouteComponent(() => import("./pages/Home"), "Home"),
});

/** Where the sign-in returns to when nothing else was asked for: the first page of the role. */
const welcomeRoute = createRoute({
  getParentRoute: () => shellRoute,
  path: "/welcome",
  beforeLoad: async ({ context }) => {
    const me = await context.queryClient.ensureQueryData(meQuery);
    throw redirect({ to: firstPage(me), replace: true });
  },
});

const approvalsRoute = createRoute({
  getParentRoute: () => shellRoute,
  path: "/approvals",
  loader: ({ context }) => context.queryClient.ensureQueryData(approvalsQuery),
  component: lazyRouteComponent(() => import("./pages/Approvals"), "Approvals"),
});

const approvalRoute = createRoute({
  getParentRoute: () => shellRoute,
  path: "/approvals/$kind/$id",
  loader: ({ context }) => context.queryClient.ensureQueryData(approvalsQuery),
  component: lazyRouteComponent(() => import("./pages/Approval"), "Approval"),
});

const installsRoute = createRoute({
  getParentRoute: () => shellRoute,
  path: "/installs",
  component: lazyRouteComponent(() => import("./pages/Installs"), "Installs"),
});

const installRoute = createRoute({
  getParentRoute: () => shellRoute,
  path: "/installs/$installId",
  validateSearch: (search): { run?: string; view?: string } => ({ run: text(search.run), view: text(search.view) }),
  loaderDeps: ({ search }) => ({ run: search.run }),
  loader: async ({ context, params, deps }) => {
    const install = await context.queryClient.ensureQueryData(installQuery(params.installId));
    const run = deps.run ?? install.run_ids[0];
    if (run) await context.queryClient.ensureQueryData(runQuery(run));
    await context.queryClient.ensureQueryData(boundaryQuery(install.boundary));
  },
  component: lazyRouteComponent(() => import("./pages/Install"), "Install"),
});

const boundaryRoute = createRoute({
  getParentRoute: () => shellRoute,
  path: "/boundaries/$boundary",
  loader: ({ context, params }) =>
    context.queryClient.ensureQueryData(boundaryQuery(params.boundary)),
  component: lazyRouteComponent(() => import("./layouts/BoundaryFrame"), "BoundaryFrame"),
});

const overviewRoute = createRoute({
  getParentRoute: () => boundaryRoute,
  path: "/",
  component: lazyRouteComponent(() => import("./pages/BoundaryOverview"), "BoundaryOverview"),
});

const modelsRoute = createRoute({
  getParentRoute: () => boundaryRoute,
  path: "/models",
  component: lazyRouteComponent(() => import("./pages/Models"), "Models"),
});

const usageRoute = createRoute({
  getParentRoute: () => boundaryRoute,
  path: "/usage",
  validateSearch: (search): { days?: number; by?: string } => ({ days: count(search.days), by: text(search.by) }),
  component: lazyRouteComponent(() => import("./pages/Usage"), "Usage"),
});

const gatewayRoute = createRoute({
  getParentRoute: () => boundaryRoute,
  path: "/gateway",
  component: lazyRouteComponent(() => import("./pages/Gateway"), "Gateway"),
});

const auditRoute = createRoute({
  getParentRoute: () => shellRoute,
  path: "/audit",
  validateSearch: (search): { chain?: string; code?: string } => ({ chain: text(search.chain), code: text(search.code) }),
  component: lazyRouteComponent(() => import("./pages/Audit"), "Audit"),
});

const reportsRoute = createRoute({
  getParentRoute: () => shellRoute,
  path: "/reports",
  component: lazyRouteComponent(() => import("./pages/Reports"), "Reports"),
});

const reportRoute = createRoute({
  getParentRoute: () => shellRoute,
  path: "/reports/$reportId",
  loader: ({ context, params }) => context.queryClient.ensureQueryData(reportQuery(params.reportId)),
  component: lazyRouteComponent(() => import("./pages/Report"), "Report"),
});

const peopleRoute = createRoute({
  getParentRoute: () => shellRoute,
  path: "/people",
  component: lazyRouteComponent(() => import("./pages/People"), "People"),
});

const tokensRoute = createRoute({
  getParentRoute: () => shellRoute,
  path: "/tokens",
  component: lazyRouteComponent(() => import("./pages/Tokens"), "Tokens"),
});

export const router = createRouter({
  routeTree: rootRoute.addChildren([
    signInRoute,
    shellRoute.addChildren([
      homeRoute,
      welcomeRoute,
      approvalsRoute,
      approvalRoute,
      installsRoute,
      installRoute,
      boundaryRoute.addChildren([overviewRoute, modelsRoute, usageRoute, gatewayRoute]),
      auditRoute,
      reportsRoute,
      reportRoute,
      peopleRoute,
      tokensRoute,
    ]),
  ]),
  context: { queryClient },
  defaultPreload: "intent",
  defaultPreloadStaleTime: 0,
  defaultPendingMs: 300,
  defaultPendingComponent: Waiting,
  defaultErrorComponent: RouteError,
  defaultNotFoundComponent: NotFound,
  scrollRestoration: true,
});

whenSignedOut(() => {
  queryClient.removeQueries({ queryKey: sessionQuery.queryKey });
  if (router.state.location.pathname !== "/sign-in") {
    void router.navigate({
      to: "/sign-in",
      search: { return_to: router.state.location.href, error: "expired" },
    });
  }
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
