/** One report: what was asked, what was found, its files, and its rows; the worker makes it meanwhile. */
import { Alert } from "@patternfly/react-core/dist/dynamic/components/Alert";
import { Button } from "@patternfly/react-core/dist/dynamic/components/Button";
import { PageSection } from "@patternfly/react-core/dist/dynamic/components/Page";
import { useInfiniteQuery, useSuspenseQuery } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { reportFile } from "../api/addresses";
import { readReportRows, reportQuery } from "../api/queries";
import type { ReportOut } from "../api/schema";
import { CodeBox } from "../components/CodeBox";
import { Digest } from "../components/Digest";
import { Download } from "../components/Download";
import { EmptyHint } from "../components/EmptyHint";
import { ErrorState } from "../components/ErrorState";
import { Facts } from "../components/Facts";
import { PageHead } from "../components/PageHead";
import { Panel } from "../components/Panel";
import { StateLabel } from "../components/States";
import { Ago, Moment } from "../components/Time";
import { WaitingPart } from "../components/Waiting";

const PAGE = 100;
export const TITLES: Record<string, string> = {
  R1: "R1: who could reach what, at a time",
  R3: "R3: what the vendor did, over a span",
};
const WORDS: Record<string, string> = { at: "At", known_at: "As known at", from: "From", to: "To" };
/** What a row says at a glance; everything else is inside it. docs/reference/reports.md */
const GLANCE: Record<string, string[]> = {
  R1: ["principal", "role", "resource", "in_force"],
  R3: ["person", "record", "at", "action", "match"],
};

export function Report() {
  const { reportId } = useParams({ strict: false }) as { reportId: string };
  const { data: report } = useSuspenseQuery(reportQuery(reportId));
  return (
    <>
      <PageHead
        title={TITLES[report.kind] ?? report.kind}
        trail={[{ label: "Reports", to: "/reports" }]}
        about={report.boundary ? `Boundary ${report.boundary}` : "The whole organization"}
        labels={<StateLabel state={report.state} />}
      />
      <PageSection isWidthLimited>
        <Stand report={report} />
        <Panel title="What was asked">
          <Facts items={facts(report)} />
        </Panel>
        {report.state === "ready" && (
          <>
            <Files report={report} />
            <Rows report={report} />
          </>
        )}
      </PageSection>
    </>
  );
}

function facts(report: ReportOut): [string, React.ReactNode][] {
  return [
    ...Object.entries(report.parameters).map(([name, value]): [string, React.ReactNode] => [WORDS[name] ?? name, <Moment key={name} at={value} />]),
    ["Asked by", `${report.requested_by.display} (${report.requested_by.subject})`],
    ["Asked", <Ago key="asked" at={report.requested_at} />],
    ["Made", report.finished_at && <Moment key="made" at={report.finished_at} />],
    ["Rows", report.row_count === null ? null : String(report.row_count)],
    ["Findings", report.findings === null ? null : String(report.findings)],
    ["Root of the rows", report.root && <Digest key="root" value={report.root} label="root" />],
  ];
}

/** Says by itself when the report is made, so that nobody has to look again. */
function Stand({ report }: { report: ReportOut }) {
  if (report.state === "failed") {
    return (
      <Alert variant="danger" isInline component="p" title="This report could not be made" actionLinks={<Link to="/reports">Ask for it again</Link>}>
        <p>{report.error}</p>
        <p>Nothing of it was kept. If it fails again, tell your platform team its id: <code>{report.id}</code></p>
      </Alert>
    );
  }
  return (
    <p role="status" className="rf-muted rf-status">
      {report.state === "ready" ? "Made and signed." : "The worker is making it; this page shows it by itself once it is made."}
    </p>
  );
}

function Files({ report }: { report: ReportOut }) {
  const named = (format: string) => `ringfence-${report.kind}-${report.id}.${format}`;
  return (
    <Panel title="Files">
      <ul className="rf-chips">
        {report.files.map((file) => (
          <li key={file.format}>
            <Download href={reportFile(report.id, file.format)}>{file.format === "manifest" ? "Manifest" : file.format.toUpperCase()}</Download>{" "}
            <span className="rf-muted rf-figures">{Math.ceil(file.size_bytes / 1000)} kB</span>
          </li>
        ))}
      </ul>
      <p className="rf-muted">The same numbers in each form; the manifest signs the other three. Every download is recorded.</p>
      <CodeBox
        label="Verify the report offline"
        text={`ringfence report verify ${named("pdf")} --manifest ${named("manifest.json")} --pin <fingerprint from your template>`}
      />
    </Panel>
  );
}

function Rows({ report }: { report: ReportOut }) {
  const rows = useInfiniteQuery({
    queryKey: ["reports", report.id, "rows"],
    // NB: reading from the beginning is an audit event, so what was read is kept.
    staleTime: Infinity,
    initialPageParam: 0,
    queryFn: ({ pageParam }) => readReportRows(report.id, pageParam, PAGE),
    getNextPageParam: (page) => page.next_after ?? undefined,
  });
  const shown = rows.data?.pages.flatMap((page) => page.rows) ?? [];
  return (
    <Panel title="Rows" aside={<span className="rf-muted rf-figures">{shown.length} of {report.row_count}</span>}>
      {rows.isPending ? (
        <WaitingPart lines={6} />
      ) : rows.error ? (
        <ErrorState error={rows.error} what="Rows" onRetry={() => void rows.refetch()} />
      ) : shown.length === 0 ? (
        <EmptyHint title="The report has no rows.">That is its result: its statement says what was looked at.</EmptyHint>
      ) : (
        <>
          <ol className="rf-audit" aria-label="Rows of the report">
            {shown.map((row) => (
              <Row key={row.row} row={row} glance={GLANCE[report.kind] ?? []} />
            ))}
          </ol>
          {rows.hasNextPage && (
            <Button variant="secondary" isLoading={rows.isFetchingNextPage} onClick={() => void rows.fetchNextPage()}>
              Show more
            </Button>
          )}
        </>
      )}
    </Panel>
  );
}

function Row({ row, glance }: { row: Record<string, string>; glance: string[] }) {
  const said = glance.map((column) => row[column]).filter(Boolean);
  const inside = Object.entries(row).map(([name, value]): [string, React.ReactNode] => [
    name.replaceAll("_", " "),
    value && <span className="rf-long">{value}</span>,
  ]);
  return (
    <li>
      <details>
        <summary className="rf-row-glance">
          <span className="rf-muted rf-figures">{row.row}</span>
          {said.map((value, index) => (
            <span key={index} className={index === 0 ? "rf-strong rf-long" : "rf-long"}>
              {value}
            </span>
          ))}
        </summary>
        <div className="rf-audit-detail">
          <Facts items={inside} />
        </div>
      </details>
    </li>
  );
}
