/** Why a run stands or has failed: step, resource, message, likely cause, what is safe to do next. */
import { Alert } from "@patternfly/react-core/dist/dynamic/components/Alert";
import { Link } from "@tanstack/react-router";
import type { BoundaryOut, FailureOut, RunOut } from "../api/schema";
import { CodeBox } from "./CodeBox";
import { Facts } from "./Facts";
import { HeldByWindow } from "./WindowsPanel";

export function RunTrouble({ run, boundary }: { run: RunOut; boundary: BoundaryOut }) {
  if (run.state === "awaiting-approval") {
    return (
      <Alert
        variant="warning"
        isInline
        component="p"
        title="The plan waits for a second person"
        actionLinks={
          <Link to="/approvals/$kind/$id" params={{ kind: "plan", id: run.id }}>
            Read the plan and decide
          </Link>
        }
      >
        Asked for by {run.requested_by_name}. Nothing is built before it is approved.
      </Alert>
    );
  }
  if (run.state === "paused") return <Paused run={run} boundary={boundary} />;
  return (
    <>
      {run.pause_requested && (
        <Alert variant="info" isInline component="p" title="A pause was asked for">
          It begins when the steps that are under way have ended.
        </Alert>
      )}
      {run.failure ? <Failure run={run} failure={run.failure} /> : <Ended run={run} />}
    </>
  );
}

function Paused({ run, boundary }: { run: RunOut; boundary: BoundaryOut }) {
  return (
    <Alert variant="warning" isInline component="p" title="Paused">
      <p>{run.parked_reason}</p>
      {run.resume_at ? (
        <HeldByWindow boundary={boundary} until={run.resume_at} />
      ) : (
        <p>It goes on when somebody resumes it. After ten minutes its access is over and has to be opened anew.</p>
      )}
    </Alert>
  );
}

const TITLES: Record<string, string> = {
  "needs-attention": "The run needs a person",
  "waiting-for-grant": "The run waits for a new grant",
  stuck: "The undo has failed for good",
  unwound: "The run failed; what it had built is gone",
  failed: "The run failed before anything was built",
};

function Failure({ run, failure }: { run: RunOut; failure: FailureOut }) {
  const step = run.steps.find((s) => s.key === failure.step);
  const command = commandIn(failure.next_action);
  return (
    <Alert
      variant={run.state === "waiting-for-grant" ? "warning" : "danger"}
      isInline
      component="p"
      title={TITLES[run.state] ?? "The run has stopped"}
      className="rf-failure"
    >
      <Facts
        items={[
          ["Step", step ? step.title : failure.step],
          ["Resource", failure.resource && <code title={failure.resource}>{named(failure.resource)}</code>],
          ["Message", failure.message],
          ["Likely cause", failure.cause],
          ["Safe next action", failure.next_action],
          ["Code", failure.code && <code>{failure.code}</code>],
        ]}
      />
      {command && <CodeBox label="The command for it" text={command} />}
    </Alert>
  );
}

/** `…::aws:eks/cluster:Cluster::main` is said as `Cluster main`. */
function named(urn: string): string {
  const [type, name] = urn.split("::").slice(-2);
  return `${type?.split(":").at(-1) ?? ""} ${name ?? ""}`.trim();
}

/** The command that a remedy names (docs/reference/run-failures.md), without the words around it. */
export function commandIn(text: string): string | null {
  return /ringfence [a-z-]+ [a-z-]+ [0-9a-f-]{36}/.exec(text)?.[0] ?? null;
}

function Ended({ run }: { run: RunOut }) {
  if (!run.error_message) return null;
  return (
    <Alert variant="danger" isInline component="p" title={run.at_fault ? `Step ${run.at_fault} failed` : "The run failed"}>
      <p>{run.error_message}</p>
    </Alert>
  );
}
