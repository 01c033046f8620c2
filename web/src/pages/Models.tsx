/** Models of a boundary: what they are by digest, where they come from, and what runs of them. */
import { useQuery } from "@tanstack/react-query";
import { createColumnHelper } from "@tanstack/react-table";
import { useParams } from "@tanstack/react-router";
import { agentQuery, entitlementsQuery, modelsQuery } from "../api/queries";
import type { ModelOut } from "../api/schema";
import { DataTable } from "../components/DataTable";
import { Digest } from "../components/Digest";
import { EmptyHint } from "../components/EmptyHint";
import { ErrorState } from "../components/ErrorState";
import { Panel } from "../components/Panel";
import { StateLabel } from "../components/States";
import { Ago } from "../components/Time";
import { WaitingPart } from "../components/Waiting";

interface Resource {
  kind: string;
  name: string;
  ready: boolean;
  reason: string;
  message: string;
  observed_generation: number;
  generation: number;
}

export function Models() {
  const { boundary } = useParams({ strict: false }) as { boundary: string };
  const models = useQuery(modelsQuery(boundary));
  const agent = useQuery(agentQuery(boundary));
  return (
    <>
      <Panel title="Model versions and lineage">
        {models.error ? (
          <ErrorState error={models.error} what="Models" onRetry={() => void models.refetch()} />
        ) : !models.data ? (
          <WaitingPart />
        ) : models.data.length === 0 ? (
          <EmptyHint title="No model is registered.">Name a base model in the organization's file and apply it.</EmptyHint>
        ) : (
          <Lineage models={models.data} verified={agent.data?.verified_artifacts ?? {}} boundary={boundary} />
        )}
      </Panel>
      <Panel
        title="Instances, as the agent reports them"
        aside={agent.data?.last_seen_at ? <span className="rf-muted">seen <Ago at={agent.data.last_seen_at} /></span> : undefined}
      >
        {agent.error ? (
          <ErrorState error={agent.error} what="The agent" onRetry={() => void agent.refetch()} />
        ) : !agent.data ? (
          <WaitingPart />
        ) : agent.data.resources.length === 0 ? (
          <EmptyHint title="No agent has reported yet.">
            It enrols near the end of an install and reports from then on, also while no access is open.
          </EmptyHint>
        ) : (
          <DataTable
            label="Resources in the boundary"
            rows={agent.data.resources as unknown as Resource[]}
            columns={RESOURCES}
            rowId={(r) => `${r.kind}/${r.name}`}
          />
        )}
        {agent.data?.refused && (
          <p className="rf-note">The agent refused the newest bundle: {String(agent.data.refused.message ?? agent.data.refused.code ?? "see its log")}</p>
        )}
      </Panel>
    </>
  );
}

/** Bases with the adapters that were trained on them: a tree of two levels, as lineage is here. */
function Lineage({ models, verified, boundary }: { models: ModelOut[]; verified: Record<string, string>; boundary: string }) {
  const entitlements = useQuery(entitlementsQuery(boundary));
  const groups = (id: string) =>
    (entitlements.data ?? []).filter((e) => e.model_version_id === id).map((e) => e.group);
  const bases = models.filter((m) => m.parent_id === null);
  return (
    <ul className="rf-lineage">
      {bases.map((base) => (
        <li key={base.id}>
          <ModelLine model={base} verified={verified[base.name]} groups={groups(base.id)} />
          <ul>
            {models
              .filter((m) => m.parent_id === base.id)
              .map((adapter) => (
                <li key={adapter.id}>
                  <ModelLine model={adapter} verified={verified[adapter.name]} groups={groups(adapter.id)} />
                </li>
              ))}
          </ul>
        </li>
      ))}
    </ul>
  );
}

function ModelLine({ model, verified, groups }: { model: ModelOut; verified: string | undefined; groups: string[] }) {
  return (
    <div className="rf-model">
      <span className="rf-strong">{model.name}</span>
      {!model.digest.includes(model.version) && <span className="rf-muted">{model.version}</span>}
      <StateLabel state={model.kind} />
      <Digest value={model.digest} label={`digest of ${model.name}`} />
      <span className="rf-muted">
        {size(model.size_bytes)} {model.format}
      </span>
      {verified && (
        <span className={verified === model.digest ? "rf-good" : "rf-bad"}>
          {verified === model.digest ? "verified in the boundary" : "DIFFERS in the boundary"}
        </span>
      )}
      {groups.length > 0 && <span className="rf-muted">used by {groups.join(", ")}</span>}
    </div>
  );
}

function size(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let amount = bytes;
  let unit = 0;
  while (amount >= 1000 && unit < units.length - 1) {
    amount /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? amount : amount.toFixed(1)} ${units[unit]}`;
}

const column = createColumnHelper<Resource>();
const RESOURCES = [
  column.accessor("kind", { header: "Kind" }),
  column.accessor("name", { header: "Name", cell: ({ getValue }) => <code>{getValue()}</code> }),
  column.accessor((r) => (r.ready ? "ready" : "not ready"), {
    id: "ready",
    header: "State",
    cell: ({ row: { original: r } }) => <StateLabel state={r.ready ? "ready" : "not ready"} />,
  }),
  column.accessor("reason", { header: "Reason" }),
  column.accessor("message", { header: "Message", cell: ({ getValue }) => <span className="rf-long">{getValue()}</span> }),
];
