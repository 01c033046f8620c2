/** An install's timeline: its run live, step by step; then plan, events and certificate. */
import { PageSection } from "@patternfly/react-core/dist/dynamic/components/Page";
import { useSuspenseQuery } from "@tanstack/react-query";
import { Link, useParams, useSearch } from "@tanstack/react-router";
import { boundaryQuery, installQuery, meQuery, runQuery } from "../api/queries";
import type { BoundaryOut, InstallOut } from "../api/schema";
import { CertificatePanel } from "../components/CertificatePanel";
import { DriftPanel } from "../components/DriftPanel";
import { EmptyHint } from "../components/EmptyHint";
import { ErrorAlert } from "../components/ErrorState";
import { EventLog } from "../components/EventLog";
import { PageHead } from "../components/PageHead";
import { Panel } from "../components/Panel";
import { PlanPanel } from "../components/PlanPanel";
import { RunActions } from "../components/RunActions";
import { RunClock } from "../components/RunClock";
import { RunTrouble } from "../components/RunTrouble";
import { AxesList, StateLabel } from "../components/States";
import { Timeline } from "../components/Timeline";
import { utc } from "../components/Time";
import { ChangeInstall } from "../components/ChangeInstall";
import { useRunEvents } from "../hooks/useRunEvents";

export function Install() {
  const { installId } = useParams({ strict: false }) as { installId: string };
  const search = useSearch({ strict: false }) as { run?: string; view?: string };
  const { data: install } = useSuspenseQuery(installQuery(installId));
  const { data: boundary } = useSuspenseQuery(boundaryQuery(install.boundary));
  const runId = search.run ?? install.run_ids[0];
  const applied = install.revisions.find((r) => r.number === install.applied_revision) ?? install.revisions[0];
  const about = applied
    ? `${applied.blueprint} ${applied.blueprint_version} in boundary ${install.boundary}`
    : `in boundary ${install.boundary}`;
  const trail = [
    { label: "Home", to: "/" },
    { label: boundary.display_name, to: `/boundaries/${boundary.name}` },
  ];
  if (!runId) {
    return (
      <>
        <PageHead title="Install" about={about} trail={trail} />
        <PageSection isWidthLimited>
          <EmptyHint title="This install has no run that you can see." />
        </PageSection>
      </>
    );
  }
  return <RunPage key={runId} {...{ install, boundary, runId, about, trail }} view={search.view ?? "timeline"} />;
}

interface RunPageProps {
  install: InstallOut;
  boundary: BoundaryOut;
  runId: string;
  view: string;
  about: string;
  trail: { label: string; to: string }[];
}

const VIEWS = [
  ["timeline", "Timeline"],
  ["events", "Events"],
  ["plan", "Plan"],
  ["certificate", "Certificate"],
] as const;

function RunPage({ install, boundary, runId, view, about, trail }: RunPageProps) {
  const { data: run, dataUpdatedAt } = useSuspenseQuery(runQuery(runId));
  const { data: me } = useSuspenseQuery(meQuery);
  const { events, connection, error } = useRunEvents(runId);
  const isOver = run.finished_at !== null;
  return (
    <>
      <PageHead
        title="Install"
        about={about}
        trail={trail}
        labels={<StateLabel state={run.state} />}
        actions={<RunActions run={run} boundary={boundary} me={me} />}
      />
      <nav className="rf-tabs" aria-label="Parts of the run">
        <ul>
          {VIEWS.filter(([key]) => key !== "certificate" || isOver).map(([key, label]) => (
            <li key={key}>
              <Link
                to="/installs/$installId"
                params={{ installId: install.id }}
                search={{ run: runId === install.run_ids[0] ? undefined : runId, view: key === "timeline" ? undefined : key }}
                activeOptions={{ exact: true, explicitUndefined: true }}
                aria-current={view === key ? "page" : undefined}
                resetScroll={false}
              >
                {label}
              </Link>
            </li>
          ))}
        </ul>
        {install.runs.length > 1 && <RunChoice install={install} runId={runId} />}
      </nav>
      <PageSection isWidthLimited>
        <RunTrouble run={run} boundary={boundary} />
        {error ? <ErrorAlert error={error} /> : null}
        {view === "events" ? (
          <EventLog events={events} connection={connection} />
        ) : view === "plan" ? (
          <PlanPanel runId={runId} />
        ) : view === "certificate" ? (
          <CertificatePanel install={install} />
        ) : (
          <>
            <RunClock run={run} asOf={dataUpdatedAt} connection={connection} />
            <Panel title="Steps">
              <Timeline run={run} asOf={dataUpdatedAt} events={events} />
            </Panel>
            {run.state === "succeeded" && <CertificatePanel install={install} />}
            <Panel title="How the install stands">
              <AxesList axes={install} />
              <ChangeInstall install={install} boundary={boundary} changes={["update", "restore"]} />
            </Panel>
            <DriftPanel install={install} boundary={boundary} />
          </>
        )}
      </PageSection>
    </>
  );
}

function RunChoice({ install, runId }: { install: InstallOut; runId: string }) {
  return (
    <details className="rf-run-choice">
      <summary>{install.runs.length} runs</summary>
      <ul>
        {install.runs.map((r) => (
          <li key={r.id}>
            <Link to="/installs/$installId" params={{ installId: install.id }} search={{ run: r.id, view: undefined }} aria-current={r.id === runId ? "true" : undefined}>
              {utc(r.created_at)}
            </Link>{" "}
            {r.kind.replace("install.", "")} <StateLabel state={r.state} />
          </li>
        ))}
      </ul>
    </details>
  );
}
