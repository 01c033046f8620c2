/** Home: each boundary with its axes, what waits, which access is open; and the next step. */
import { PageSection } from "@patternfly/react-core/dist/dynamic/components/Page";
import { useQuery, useSuspenseQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { can } from "../api/can";
import { nextStep } from "../api/nextStep";
import { approvalsQuery, boundariesQuery, meQuery, type Me } from "../api/queries";
import type { BoundaryOut } from "../api/schema";
import { BoundaryTable } from "../components/BoundaryTable";
import { EmptyHint } from "../components/EmptyHint";
import { ErrorState } from "../components/ErrorState";
import { GatewayGuide } from "../components/GatewayGuide";
import { NextStepCard } from "../components/NextStepCard";
import { PageHead } from "../components/PageHead";
import { Panel } from "../components/Panel";
import { PendingList } from "../components/PendingList";
import { Countdown } from "../components/Time";
import { StateLabel } from "../components/States";
import { WaitingPart } from "../components/Waiting";
import { Describe, NoRole } from "./NoRole";

export function Home() {
  const { data: me } = useSuspenseQuery(meQuery);
  return can.enter(me) ? <Boundaries me={me} /> : <NoRole me={me} />;
}

function Boundaries({ me }: { me: Me }) {
  const { data: boundaries } = useSuspenseQuery(boundariesQuery);
  if (boundaries.length === 0) return <NoBoundary me={me} />;
  const run = boundaries.filter(can.seeStanding);
  const used = boundaries.filter((b) => !can.seeStanding(b));
  return (
    <>
      <PageHead title="Home" about={`Good to see you, ${me.display}.`} />
      <PageSection isWidthLimited>
        {run.length > 0 && <Operations boundaries={run} />}
        {used.map((boundary) => (
          <Panel key={boundary.id} title={`Use the models of ${boundary.display_name}`}>
            <GatewayGuide boundary={boundary} />
          </Panel>
        ))}
      </PageSection>
    </>
  );
}

function Operations({ boundaries }: { boundaries: BoundaryOut[] }) {
  const open = boundaries.filter((b) => b.standing?.live_grant);
  const todo = boundaries.filter((b) => !["none", undefined].includes(nextStep(b)?.kind));
  return (
    <>
      <Panel title="All boundaries">
        <BoundaryTable boundaries={boundaries} />
      </Panel>
      <div className="rf-columns">
        <Panel title="Next step">
          {todo.length > 0 ? (
            todo.map((b) => <NextStepCard key={b.id} boundary={b} withName />)
          ) : (
            <EmptyHint title="Every boundary is installed.">Nothing to do here.</EmptyHint>
          )}
        </Panel>
        <div>
          <WaitingPanel />
          <Panel title="Live access">
            {open.length === 0 ? (
              <EmptyHint title="No access is open or asked for.">
                Nobody of ours can reach any account now.
              </EmptyHint>
            ) : (
              <ul className="rf-list">
                {open.map((b) => (
                  <LiveGrant key={b.id} boundary={b} />
                ))}
              </ul>
            )}
          </Panel>
        </div>
      </div>
    </>
  );
}

function LiveGrant({ boundary }: { boundary: BoundaryOut }) {
  const grant = boundary.standing!.live_grant!;
  return (
    <li>
      <div className="rf-list-line">
        <Link to="/boundaries/$boundary" params={{ boundary: boundary.name }}>
          {boundary.display_name}
        </Link>
        <StateLabel state={grant.state} prefix={`g${grant.number}`} />
        <span className="rf-grow" />
        {grant.grant_until ? <Countdown until={grant.grant_until} /> : <span className="rf-muted">not approved</span>}
      </div>
      <p className="rf-muted">
        {grant.purpose}, asked by {grant.requested_by.display}
      </p>
    </li>
  );
}

function WaitingPanel() {
  const approvals = useQuery(approvalsQuery);
  return (
    <Panel title="Waiting for a decision" aside={<Link to="/approvals">All</Link>}>
      {approvals.isPending ? (
        <WaitingPart lines={2} />
      ) : approvals.error ? (
        <ErrorState error={approvals.error} what="Approvals" onRetry={() => void approvals.refetch()} />
      ) : approvals.data.length === 0 ? (
        <EmptyHint title="Nothing waits." />
      ) : (
        <PendingList items={approvals.data.slice(0, 5)} />
      )}
    </Panel>
  );
}

function NoBoundary({ me }: { me: Me }) {
  return (
    <>
      <PageHead title="Home" about={`${me.organization} has no boundary that you have a role in.`} />
      <PageSection isWidthLimited>
        {can.describe(me) ? (
          <Describe />
        ) : (
          <Panel title="Nothing here yet">
            <EmptyHint title="Boundaries come from the organization's file.">
              Ask an architect or administrator of {me.organization} to describe one, and to name you in it.
            </EmptyHint>
          </Panel>
        )}
      </PageSection>
    </>
  );
}
