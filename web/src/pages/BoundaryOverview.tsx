/** A boundary: what it needs next, how its install stands, who may reach it, and who could before. */
import { Button } from "@patternfly/react-core/dist/dynamic/components/Button";
import { useMutation, useQuery, useQueryClient, useSuspenseQuery } from "@tanstack/react-query";
import { createColumnHelper } from "@tanstack/react-table";
import { Link, Navigate, useParams } from "@tanstack/react-router";
import { useState } from "react";
import { can } from "../api/can";
import { api, unwrap } from "../api/client";
import { boundaryQuery, connectionQuery, grantsQuery } from "../api/queries";
import type { BoundaryOut, GrantOut } from "../api/schema";
import { Ask } from "../components/Ask";
import { DataTable } from "../components/DataTable";
import { EmptyHint } from "../components/EmptyHint";
import { ErrorState } from "../components/ErrorState";
import { Facts } from "../components/Facts";
import { NextStepCard } from "../components/NextStepCard";
import { Panel } from "../components/Panel";
import { AxesList, StateLabel } from "../components/States";
import { Ago, Countdown, duration } from "../components/Time";
import { WaitingPart } from "../components/Waiting";
import { WindowsPanel } from "../components/WindowsPanel";

export function BoundaryOverview() {
  const { boundary: name } = useParams({ strict: false }) as { boundary: string };
  const { data: boundary } = useSuspenseQuery(boundaryQuery(name));
  if (!boundary.standing) return <Navigate to="/boundaries/$boundary/gateway" params={{ boundary: name }} replace />;
  const { installs, agent_seen_at } = boundary.standing;
  return (
    <>
      <NextStepCard boundary={boundary} />
      <div className="rf-columns">
        <div>
          <Panel title="Install">
            {installs.length === 0 ? (
              <EmptyHint title="Nothing is installed here yet." />
            ) : (
              installs.map((install) => (
                <div key={install.id}>
                  <p className="rf-row">
                    <Link to="/installs/$installId" params={{ installId: install.id }} className="rf-strong">
                      {install.name}
                    </Link>
                    {install.newest_run && <StateLabel state={install.newest_run.state} prefix="run" />}
                  </p>
                  <AxesList axes={install} />
                </div>
              ))
            )}
          </Panel>
          <LiveAccess boundary={boundary} />
        </div>
        <div>
          <Connection name={name} agentSeenAt={agent_seen_at} />
          <WindowsPanel boundary={boundary} />
        </div>
      </div>
      <Grants boundary={boundary} />
    </>
  );
}

function LiveAccess({ boundary }: { boundary: BoundaryOut }) {
  const grant = boundary.standing?.live_grant;
  const [isAsking, setAsking] = useState(false);
  const client = useQueryClient();
  const revoke = useMutation({
    mutationFn: (reason: string) =>
      unwrap(api.POST("/v1/grants/{grant_id}/revoke", { params: { path: { grant_id: grant!.id } }, body: { reason } })),
    onSuccess: async () => {
      setAsking(false);
      await client.invalidateQueries();
    },
  });
  return (
    <Panel title="Our access">
      {!grant ? (
        <EmptyHint title="Closed.">Nobody of ours can reach this account. The next access needs a new grant.</EmptyHint>
      ) : (
        <>
          <Facts
            items={[
              ["Grant", <span key="g" className="rf-row"><StateLabel state={grant.state} prefix={`g${grant.number}`} /></span>],
              ["Purpose", grant.purpose],
              ["Asked by", grant.requested_by.display],
              ["Time left", grant.grant_until ? <Countdown key="t" until={grant.grant_until} /> : `${duration(grant.duration_seconds)} from the approval on`],
            ]}
          />
          {can.revokeGrant(boundary) && (
            <Button variant="secondary" isDanger onClick={() => setAsking(true)}>
              End this access now
            </Button>
          )}
        </>
      )}
      {isAsking && (
        <Ask
          title="End our access now?"
          confirm="End the access"
          isDanger
          reasonMinimum={3}
          isBusy={revoke.isPending}
          error={revoke.error}
          onConfirm={(reason) => revoke.mutate(reason)}
          onClose={() => setAsking(false)}
        >
          <p className="rf-ask-text">
            A run under it stops at its next safe point. You can also end it without us: update your
            stack with <code>GrantNumber=0</code>, or delete it.
          </p>
        </Ask>
      )}
    </Panel>
  );
}

function Connection({ name, agentSeenAt }: { name: string; agentSeenAt: string | null }) {
  const connection = useQuery(connectionQuery(name));
  return (
    <Panel title="Connection">
      {connection.error ? (
        <ErrorState error={connection.error} what="The connection" />
      ) : connection.data ? (
        <Facts
          items={[
            ["Account", <code key="a">{connection.data.account}</code>],
            ["Region", connection.data.region],
            ["Role", <code key="r">{connection.data.role_base_name}-g<em>n</em></code>],
            ["Last probe", <span key="p" className="rf-row"><StateLabel state={connection.data.state} /> <Ago at={connection.data.state_at} /></span>],
            ["Agent", agentSeenAt ? <span key="s">seen <Ago at={agentSeenAt} /></span> : "not enrolled"],
          ]}
        />
      ) : (
        <WaitingPart />
      )}
    </Panel>
  );
}

const column = createColumnHelper<GrantOut>();
const COLUMNS = [
  column.accessor("number", { header: "Grant", cell: ({ getValue }) => <code>g{getValue()}</code> }),
  column.accessor("state", { header: "State", cell: ({ getValue }) => <StateLabel state={getValue()} /> }),
  column.accessor("purpose", { header: "Purpose" }),
  column.accessor((g) => g.requested_by.display, { id: "asked", header: "Asked by" }),
  column.accessor((g) => g.decided_by?.display ?? "", { id: "decided", header: "Decided by", cell: ({ getValue }) => getValue() || "–" }),
  column.accessor("requested_at", { header: "Asked", cell: ({ getValue }) => <Ago at={getValue()} /> }),
  column.accessor((g) => g.closed_by ?? "", { id: "closed", header: "Closed by", cell: ({ getValue }) => getValue() || "–" }),
];

function Grants({ boundary }: { boundary: BoundaryOut }) {
  const grants = useQuery(grantsQuery(boundary.name));
  return (
    <Panel title="Access grants">
      {grants.isPending ? (
        <WaitingPart />
      ) : grants.error ? (
        <ErrorState error={grants.error} what="Grants" onRetry={() => void grants.refetch()} />
      ) : grants.data.length === 0 ? (
        <EmptyHint title="Access was never asked for." />
      ) : (
        <DataTable label="Access grants" rows={grants.data} columns={COLUMNS} rowId={(g) => g.id} />
      )}
    </Panel>
  );
}
