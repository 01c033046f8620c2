/** The plan as a diff: what would be created, changed or deleted, stack by stack. */
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { ApiError } from "../api/client";
import { planQuery } from "../api/queries";
import { duration } from "./Time";
import { Digest } from "./Digest";
import { EmptyHint } from "./EmptyHint";
import { ErrorState } from "./ErrorState";
import { Panel } from "./Panel";
import { WaitingPart } from "./Waiting";

/** controlplane/adapters/pulumi/constraint.py, `PlanConstraint`. */
interface Resource {
  urn: string;
  type: string;
  op: string;
  properties: Record<string, unknown>;
}

interface PlanDocument {
  constraint?: { stacks: Record<string, Resource[]> };
  counts?: Record<string, Record<string, number>>;
  holes?: number;
  blueprint?: string;
  blueprint_version?: string;
  seconds_p90?: number;
}

const SIGNS: Record<string, string> = { create: "+", update: "~", delete: "−", replace: "±", same: "=", retain: "•" };

export function PlanPanel({ runId }: { runId: string }) {
  const plan = useQuery(planQuery(runId));
  if (plan.error instanceof ApiError && plan.error.status === 404) {
    return (
      <Panel title="Plan">
        <EmptyHint title="There is no plan yet.">It is made once the account is checked.</EmptyHint>
      </Panel>
    );
  }
  const document = plan.data?.document as PlanDocument | undefined;
  return (
    <Panel title="Plan" aside={plan.data && <Digest value={plan.data.digest} label="digest of the plan" />}>
      {plan.error ? (
        <ErrorState error={plan.error} what="The plan" onRetry={() => void plan.refetch()} />
      ) : document ? (
        <Diff document={document} />
      ) : (
        <WaitingPart lines={5} />
      )}
    </Panel>
  );
}

function Diff({ document }: { document: PlanDocument }) {
  const stacks = Object.entries(document.constraint?.stacks ?? {});
  const total: Record<string, number> = {};
  for (const counts of Object.values(document.counts ?? {})) {
    for (const [op, n] of Object.entries(counts)) total[op] = (total[op] ?? 0) + n;
  }
  const summary = Object.entries(total).map(([op, n]) => `${n} to ${op}`).join(", ");
  return (
    <>
      <p className="rf-about">
        <strong>{summary || "Nothing to do"}</strong>
        {document.blueprint && ` · ${document.blueprint} ${document.blueprint_version ?? ""}`}
        {document.seconds_p90 && ` · up to ${duration(document.seconds_p90)}`}
        {document.holes ? ` · ${document.holes} values are known only after the apply` : ""}
      </p>
      {stacks.map(([name, resources]) => (
        <Stack key={name} name={name} resources={resources.filter((r) => !r.type.startsWith("pulumi:"))} />
      ))}
    </>
  );
}

function Stack({ name, resources }: { name: string; resources: Resource[] }) {
  return (
    <div className="rf-stack">
      <h3>
        {name} <span className="rf-muted">{resources.length} resources</span>
      </h3>
      <ul className="rf-diff">
        {resources.map((r) => (
          <ResourceLine key={r.urn} resource={r} />
        ))}
      </ul>
    </div>
  );
}

function ResourceLine({ resource }: { resource: Resource }) {
  const [isOpen, setOpen] = useState(false);
  const name = resource.urn.split("::").at(-1) ?? resource.urn;
  return (
    <li className={`rf-op-${resource.op}`}>
      <details onToggle={(event) => setOpen(event.currentTarget.open)}>
        <summary>
          <span className="rf-sign" aria-hidden="true">{SIGNS[resource.op] ?? "?"}</span>
          <span className="pf-v6-screen-reader">{resource.op} </span>
          <code>{resource.type.replace(/^aws:/, "").replace(/:.*\//, "/").replace(/\/[^/:]*:/, ":")}</code> <span>{name}</span>
        </summary>
        {isOpen && <pre className="rf-properties" tabIndex={0}>{JSON.stringify(shown(resource.properties), null, 2)}</pre>}
      </details>
    </li>
  );
}

/** A hole is a value that the approval does not fix: known only after the apply, or a secret. */
function shown(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shown);
  if (typeof value !== "object" || value === null) return value;
  if ("$hole" in value) return value.$hole === "secret" ? "(secret)" : "(known after the apply)";
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, shown(v)]));
}
