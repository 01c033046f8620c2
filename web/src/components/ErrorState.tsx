import { Alert } from "@patternfly/react-core/dist/dynamic/components/Alert";
import { Button } from "@patternfly/react-core/dist/dynamic/components/Button";
import { PageSection } from "@patternfly/react-core/dist/dynamic/components/Page";
import { useQueryErrorResetBoundary } from "@tanstack/react-query";
import { useRouter } from "@tanstack/react-router";
import { explain, isMissingRoute } from "../api/errors";
import { EmptyHint } from "./EmptyHint";

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
    <Alert variant="danger" isInline title={shown.title} actionLinks={actions} role="alert">
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

/** A page that could not be loaded; the rest of the console stays usable. */
export function RouteError({ error, reset }: { error: unknown; reset: () => void }) {
  const router = useRouter();
  const { reset: resetQueries } = useQueryErrorResetBoundary();
  return (
    <PageSection isWidthLimited>
      <ErrorState
        error={error}
        what="This page"
        onRetry={() => {
          resetQueries();
          reset();
          void router.invalidate();
        }}
      />
    </PageSection>
  );
}
