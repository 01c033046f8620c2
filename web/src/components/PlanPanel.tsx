/** The plan as a person reads it: what, why, what changes, how long, what it costs (plan_view.py). */
import { useQuery } from "@tanstack/react-query";
import { useState, type ReactNode } from "react";
import { ApiError } from "../api/client";
import { planQuery } from "../api/queries";
import type { ChangeOut, CostSummaryOut, PlannedOut, PlanOut, RestoredOut, RestoreOut, UpdateOut } from "../api/schema";
import { duration } from "./Time";
import { Digest } from "./Digest";
import { EmptyHint } from "./EmptyHint";
import { ErrorState } from "./ErrorState";
import { Facts } from "./Facts";
import { Panel } from "./Panel";
import { WaitingPart } from "./Waiting";

type Properties = Record<string, unknown>;

interface PlanDocument {
  /** controlplane/adapters/pulumi/constraint.py, `PlanConstraint`: what the digest is over. */
  constraint?: { stacks?: Record<string, { urn: string; properties: Properties }[]> };
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
  return (
    <Panel title="Plan" aside={plan.data && <Digest value={plan.data.digest} label="digest of the plan" />}>
      {plan.error ? (
        <ErrorState error={plan.error} what="The plan" onRetry={() => void plan.refetch()} />
      ) : plan.data ? (
        <Diff plan={plan.data} />
      ) : (
        <WaitingPart lines={5} />
      )}
    </Panel>
  );
}

function Diff({ plan }: { plan: PlanOut }) {
  const document = plan.document as PlanDocument;
  const { operations, resources, cost, time_scale, update, restore, shared } = plan.view;
  const summary = Object.entries(operations)
    .filter(([op]) => op !== "same")
    .map(([op, n]) => `${n} to ${op}`)
    .join(", ");
  const approved: Record<string, Properties> = {};
  for (const items of Object.values(document.constraint?.stacks ?? {})) {
    for (const item of items) approved[item.urn] = item.properties;
  }
  return (
    <>
      <p className="rf-about">
        <strong>{summary || "Nothing to do"}</strong>
        {operations.same ? `, ${operations.same} kept` : ""}
        {document.blueprint && ` · ${document.blueprint} ${document.blueprint_version ?? ""}`}
        {document.seconds_p90 && ` · up to ${duration(document.seconds_p90)}`}
        {document.holes ? ` · ${document.holes} ${document.holes === 1 ? "value is" : "values are"} known only after the apply` : ""}
      </p>
      {update && <Update update={update} />}
      {restore && <Restore restore={restore} />}
      {shared && (
        <p className="rf-about">
          {shared.host
            ? `Cluster ${shared.cluster} is of boundary ${shared.host}: its control plane and its nodes are shared.`
            : `Cluster ${shared.cluster} is shared with ${shared.guests.join(", ")}, if they are installed.`}
        </p>
      )}
      <Cost cost={cost} />
      {time_scale !== 1 && (
        <p className="rf-muted">Times are simulated, at {time_scale} of those published.</p>
      )}
      {[...new Set(resources.map((r) => r.stack))].map((stack) => (
        <Stack key={stack} name={stack} resources={resources.filter((r) => r.stack === stack)} approved={approved} />
      ))}
    </>
  );
}

/** From which record a restore began, and how that differed from the account. */
function Restore({ restore: r }: { restore: RestoreOut }) {
  const isWhole = r.adopted.length + r.lost.length === 0;
  return (
    <>
      <p>
        Began from the record <strong>{r.source}</strong>
        {isWhole && ": it and the account agree, so there is nothing to adopt and nothing is lost"}.
      </p>
      <Restored title="Adopted: in the account, and now in the record" items={r.adopted} />
      <Restored title="Lost: made anew; where a reason stands, your data was in it" items={r.lost} />
      <Restored title="Stays as it is, and is built upon" items={r.kept} />
    </>
  );
}

function Restored({ title, items }: { title: string; items: RestoredOut[] }) {
  if (items.length === 0) return null;
  return (
    <>
      <h3>{title}</h3>
      <ul>
        {items.map((item) => (
          <li key={item.urn}>
            {item.stack}/{item.name} <code>{item.id}</code>
            {item.reason && (
              <>
                : <strong>{item.reason}</strong>
              </>
            )}
          </li>
        ))}
      </ul>
    </>
  );
}

/** What an update does beside the resources of the account, and from where it starts. */
function Update({ update: u }: { update: UpdateOut }) {
  return (
    <>
      <p>
        Revision {u.from_revision} <span aria-hidden="true">→</span>
        <span className="pf-v6-screen-reader"> to </span> {u.to_revision}
        {u.from_version !== u.to_version && `, blueprint ${u.from_version} to ${u.to_version}`}
      </p>
      {u.inputs.length > 0 && (
        <Changes changes={u.inputs.map((i) => ({ path: i.name, old: i.old, new: i.new, forces_replacement: false }))} />
      )}
      {(u.desired.length > 0 || u.release) && (
        <ul className="rf-list">
          {u.desired.map((d) => (
            <li key={`${d.kind}/${d.name}`}>
              {d.change} {d.kind} <strong>{d.name}</strong>
            </li>
          ))}
          {u.release && <li>Operator, agent and gateway are upgraded; the way into the cluster is opened for it.</li>}
        </ul>
      )}
    </>
  );
}

export function money(amount: number, currency: string): string {
  return new Intl.NumberFormat("en", { style: "currency", currency }).format(amount);
}

function Cost({ cost }: { cost: CostSummaryOut }) {
  if (cost.as_of === null) {
    return <p className="rf-muted">No list price is known for anything in this plan.</p>;
  }
  const in_ = cost.installed_in ? `; the install is in ${cost.installed_in}` : "";
  return (
    <div className="rf-cost">
      <p>
        <strong className="rf-figures">{money(cost.monthly, cost.currency)}</strong> a month after the apply, estimated
        {cost.ended > 0 && ` (${money(cost.added, cost.currency)} added, ${money(cost.ended, cost.currency)} ended)`}
      </p>
      <p className="rf-muted">
        Estimate, list prices of {cost.region}, {cost.as_of} or newer{in_}. Each resource names its source.
        {cost.unpriced > 0 && ` ${cost.unpriced} resources have no price here; what is charged by use is not in it.`}
      </p>
    </div>
  );
}

function Stack(props: { name: string; resources: PlannedOut[]; approved: Record<string, Properties> }) {
  const { name, resources, approved } = props;
  return (
    <div className="rf-stack">
      <h3>
        {name} <span className="rf-muted">{resources.length} resources</span>
      </h3>
      <ul className="rf-diff">
        {resources.map((r) => (
          <ResourceLine key={r.urn} resource={r} properties={approved[r.urn] ?? {}} />
        ))}
      </ul>
    </div>
  );
}

function ResourceLine({ resource: r, properties }: { resource: PlannedOut; properties: Properties }) {
  const [isOpen, setOpen] = useState(false);
  const forced = r.replaced_for.length > 0 ? `replaced because of ${r.replaced_for.join(", ")}` : "";
  return (
    <li className={`rf-op-${r.operation}`}>
      <details onToggle={(event) => setOpen(event.currentTarget.open)}>
        <summary>
          <span className="rf-sign" aria-hidden="true">{SIGNS[r.operation] ?? "?"}</span>
          <span className="pf-v6-screen-reader">{r.operation} </span>
          <span className="rf-planned">
            <span>
              {r.what} <strong>{r.name}</strong>
            </span>
            {(forced || r.why) && (
              <span className="rf-muted">
                {forced && <span className="rf-forced">{forced}. </span>}
                {r.why}
              </span>
            )}
          </span>
          <span className="rf-grow" />
          <span className="rf-planned-figures rf-figures">
            {r.time && <span>{span(r.time.p50_seconds, r.time.p90_seconds)}</span>}
            <span className={r.cost ? undefined : "rf-muted"}>
              {r.cost ? `${money(r.cost.monthly, "USD")} a month` : "no price"}
            </span>
          </span>
        </summary>
        {isOpen && <Detail resource={r} properties={properties} />}
      </details>
    </li>
  );
}

function span(p50: number, p90: number): string {
  const [low, high] = [duration(p50), duration(p90)];
  return low === high ? low : `${low} to ${high}`;
}

function Detail({ resource: r, properties }: { resource: PlannedOut; properties: Properties }) {
  const facts: [string, ReactNode][] = [
    ["Type", <code key="type">{r.type}</code>],
    ["Part of", r.component],
    ["Time", r.time && `${span(r.time.p50_seconds, r.time.p90_seconds)}, half of the times and nine of ten. ${r.time.source}`],
    ["Price", r.cost && [r.cost.basis, r.cost.beside && `beside it ${r.cost.beside}`].filter(Boolean).join("; ")],
    ["Price from", r.cost && `${r.cost.source}, ${r.cost.as_of}`],
  ];
  return (
    <div className="rf-planned-detail">
      <Facts items={facts} />
      {r.changes.length > 0 && <Changes changes={r.changes} />}
      {r.operation !== "same" && (
        <>
          <h4>{r.operation === "delete" ? "As it was" : "As it shall be, and what is approved"}</h4>
          <pre className="rf-properties" tabIndex={0} aria-label={`Properties of ${r.name}`}>
            {JSON.stringify(shown(properties), null, 2)}
          </pre>
        </>
      )}
    </div>
  );
}

function Changes({ changes }: { changes: ChangeOut[] }) {
  return (
    <dl className="rf-changes">
      {changes.map((c) => (
        <div key={c.path}>
          <dt>
            <code>{c.path}</code>
            {c.forces_replacement && <span className="rf-forced"> forces the replacement</span>}
          </dt>
          <dd>
            <span className="pf-v6-screen-reader">from </span>
            <code>{worded(c.old)}</code> <span aria-hidden="true">→</span>
            <span className="pf-v6-screen-reader"> to </span> <code>{worded(c.new)}</code>
          </dd>
        </div>
      ))}
    </dl>
  );
}

function worded(value: unknown): string {
  const plain = shown(value);
  if (plain === null) return "not set";
  return typeof plain === "string" ? plain : JSON.stringify(plain);
}

/** A hole is a value that the approval does not fix: known only after the apply, or a secret. */
function shown(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shown);
  if (typeof value !== "object" || value === null) return value;
  if ("$hole" in value) return value.$hole === "secret" ? "(secret)" : "(known after the apply)";
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, shown(v)]));
}
