import { Alert } from "@patternfly/react-core/dist/dynamic/components/Alert";
import { Button } from "@patternfly/react-core/dist/dynamic/components/Button";
import { PageSection } from "@patternfly/react-core/dist/dynamic/components/Page";
import { useQuery, useQueryErrorResetBoundary } from "@tanstack/react-query";
import { Link, useRouter } from "@tanstack/react-router";
import { ApiError } from "../api/client";
import { explain, isMissingPart, isMissingRoute } from "../api/errors";
import { meQuery } from "../api/queries";
import { EmptyHint } from "./EmptyHint";
import { PageHead } from "./PageHead";

/** What went wrong, what to do, and the id to tell; says plainly when the server is without it. */
export function ErrorState({ error, what, onRetry }: { error: unknown; what: string; onRetry?: () => void }) {
  if (isMissingRoute(error)) {
    return (
      <EmptyHint title={`${what}: not available on this server`}>
        This server is of a version that does not offer it. Ask your platform team to upgrade the
        control plane.
      </EmptyHint>
    );
  }
  return (
    <ErrorAlert
      error={error}
      actions={
        onRetry && (
          <Button variant="link" isInline onClick={onRetry}>
            Try again
          </Button>
        )
      }
    />
  );
}

export function ErrorAlert({ error, actions }: { error: unknown; actions?: React.ReactNode }) {
  const shown = explain(error);
  return (
    <Alert variant="danger" isInline component="p" title={shown.title} actionLinks={actions} role="alert">
      <p>{shown.message}</p>
      {shown.problems.length > 0 && (
        <ul className="rf-problems">
          {shown.problems.map((problem) => (
            <li key={problem}>{problem}</li>
          ))}
        </ul>
      )}
      {shown.fix && <p>{shown.fix}</p>}
      {shown.requestId && (
        <p className="rf-request">
          Request <code>{shown.requestId}</code>
        </p>
      )}
    </Alert>
  );
}

/** A link does not say of which organization it is, so the person may only stand in the wrong one. */
function Elsewhere() {
  const { data: me } = useQuery({ ...meQuery, enabled: false });
  if (!me || me.organizations.length < 2) return null;
  return (
    <p className="rf-back">
      You are in {me.organization}. It may be in another of your organizations: choose it at the top, then open the address again.
    </p>
  );
}

function pageTitle(error: unknown): string {
  if (!(error instanceof ApiError)) return "This page did not load";
  if (error.status === 403) return "Not with your role";
  return error.status === 404 ? "There is no such thing here" : "This page did not load";
}

/** A page that could not be loaded; the rest of the console stays usable. */
export function RouteError({ error, reset }: { error: unknown; reset: () => void }) {
  const router = useRouter();
  const { reset: resetQueries } = useQueryErrorResetBoundary();
  const again = () => {
    // A script that did not come is kept as failed by the browser: only a load asks for it again.
    if (isMissingPart(error)) return window.location.reload();
    resetQueries();
    reset();
    void router.invalidate();
  };
  return (
    <>
      <PageHead title={pageTitle(error)} />
      <PageSection isWidthLimited>
        <ErrorState error={error} what="This page" onRetry={again} />
        {error instanceof ApiError && error.status === 404 && <Elsewhere />}
        <p className="rf-back">
          <Link to="/">Go to Home</Link>
        </p>
      </PageSection>
    </>
  );
}
