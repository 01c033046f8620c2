/** Reports: asked for here, made by the worker, read and downloaded; the same numbers in each form. */
import { Button } from "@patternfly/react-core/dist/dynamic/components/Button";
import { Form, FormGroup } from "@patternfly/react-core/dist/dynamic/components/Form";
import { FormSelect, FormSelectOption } from "@patternfly/react-core/dist/dynamic/components/FormSelect";
import { PageSection } from "@patternfly/react-core/dist/dynamic/components/Page";
import { TextInput } from "@patternfly/react-core/dist/dynamic/components/TextInput";
import { useMutation, useQuery, useQueryClient, useSuspenseQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { reportFile } from "../api/addresses";
import { api, unwrap } from "../api/client";
import type { ReportIn, ReportOut } from "../api/schema";
import { can } from "../api/can";
import { boundariesQuery, meQuery, reportsQuery } from "../api/queries";
import { Download } from "../components/Download";
import { EmptyHint } from "../components/EmptyHint";
import { ErrorAlert, ErrorState } from "../components/ErrorState";
import { PageHead } from "../components/PageHead";
import { Panel } from "../components/Panel";
import { StateLabel } from "../components/States";
import { Ago, utc } from "../components/Time";
import { WaitingPart } from "../components/Waiting";

type Kind = ReportIn["kind"];

const KINDS: Record<Kind, { name: string; means: string; isSpan: boolean }> = {
  R1: { name: "R1: who could reach what, at a time", means: "Every principal with access to the boundary at that time: roles, source, groups.", isSpan: false },
  R3: { name: "R3: what the vendor did, over a span", means: "Every access grant with its use, set against the customer's own trail line by line.", isSpan: true },
};

export function Reports() {
  const reports = useQuery(reportsQuery);
  return (
    <>
      <PageHead title="Reports" about="Evidence for a file: complete, with its query and digest printed on it, reproducible offline." />
      <PageSection isWidthLimited>
        <div className="rf-columns">
          <Panel title="Reports made">
            {reports.isPending ? (
              <WaitingPart />
            ) : reports.error ? (
              <ErrorState error={reports.error} what="Reports" onRetry={() => void reports.refetch()} />
            ) : reports.data.length === 0 ? (
              <EmptyHint title="No report yet.">Ask for the first one beside.</EmptyHint>
            ) : (
              <ul className="rf-list">
                {reports.data.map((report) => (
                  <ReportLine key={report.id} report={report} />
                ))}
              </ul>
            )}
          </Panel>
          <Panel title="Ask for a report">
            <RequestReport />
          </Panel>
        </div>
      </PageSection>
    </>
  );
}

function ReportLine({ report }: { report: ReportOut }) {
  const asked = Object.values(report.parameters).map(utc).join(" to ");
  return (
    <li>
      <div className="rf-list-line">
        <Link to="/reports/$reportId" params={{ reportId: report.id }} className="rf-strong">
          {report.kind} of {report.boundary ?? "the whole organization"}
        </Link>
        <StateLabel state={report.state} />
        <span className="rf-grow" />
        {report.files.map(({ format }) => (
          <Download key={format} href={reportFile(report.id, format)}>
            {format === "manifest" ? "Manifest" : format.toUpperCase()}
            <span className="pf-v6-screen-reader"> of {report.kind}, asked for at {utc(report.requested_at)}</span>
          </Download>
        ))}
      </div>
      <p className="rf-muted">
        {report.kind === "R1" ? `at ${utc(report.parameters.at ?? report.requested_at)}` : asked} · asked by {report.requested_by.display}{" "}
        <Ago at={report.requested_at} />
        {report.row_count !== null && ` · ${report.row_count} rows`}
        {report.findings !== null && ` · ${report.findings} findings`}
      </p>
      {report.error && <p className="rf-step-error">{report.error}</p>}
    </li>
  );
}

/** No name of a boundary. */
const ALL = "*";
/** A field's value as the API takes it; an empty one means now. */
const moment = (value: string) => (value ? `${value}:00Z` : undefined);
const minute = (date: Date) => date.toISOString().slice(0, 16);

function RequestReport() {
  const boundaries = useQuery(boundariesQuery);
  const client = useQueryClient();
  const [kind, setKind] = useState<Kind>("R1");
  const navigate = useNavigate();
  const { data: me } = useSuspenseQuery(meQuery);
  const [boundary, setBoundary] = useState("");
  const [from, setFrom] = useState(() => minute(new Date(Date.now() - 30 * 86_400_000)));
  const [to, setTo] = useState("");
  const chosen = boundary || boundaries.data?.[0]?.name || "";
  const spec = KINDS[kind];
  const request = useMutation({
    mutationFn: () =>
      unwrap(
        api.POST("/v1/reports", {
          body: {
            kind,
            boundary: chosen === ALL ? undefined : chosen,
            ...(spec.isSpan ? { from: moment(from), to: moment(to) } : { at: moment(to) }),
          },
        }),
      ),
    onSuccess: async ({ id }) => {
      await client.invalidateQueries({ queryKey: reportsQuery.queryKey });
      await navigate({ to: "/reports/$reportId", params: { reportId: id } });
    },
  });
  return (
    <Form
      onSubmit={(event) => {
        event.preventDefault();
        request.mutate();
      }}
    >
      <FormGroup label="Report" fieldId="kind">
        <FormSelect id="kind" value={kind} onChange={(_, v) => setKind(v as Kind)}>
          {Object.entries(KINDS).map(([key, { name }]) => (
            <FormSelectOption key={key} value={key} label={name} />
          ))}
        </FormSelect>
        <p className="rf-muted">{spec.means}</p>
      </FormGroup>
      <FormGroup label="Boundary" fieldId="boundary">
        <FormSelect id="boundary" value={chosen} onChange={(_, v) => setBoundary(v)}>
          {can.reportOnAll(me) && <FormSelectOption value={ALL} label="All, the whole organization" />}
          {(boundaries.data ?? []).map((b) => (
            <FormSelectOption key={b.id} value={b.name} label={b.display_name} />
          ))}
        </FormSelect>
      </FormGroup>
      {spec.isSpan && (
        <FormGroup label="From (UTC)" fieldId="from">
          <TextInput id="from" type="datetime-local" value={from} onChange={(_, v) => setFrom(v)} />
        </FormGroup>
      )}
      <FormGroup label={spec.isSpan ? "To (UTC)" : "At (UTC)"} fieldId="to">
        <TextInput id="to" type="datetime-local" value={to} aria-describedby="to-hint" onChange={(_, v) => setTo(v)} />
        <p id="to-hint" className="rf-muted">Empty means now.</p>
      </FormGroup>
      {request.error && <ErrorAlert error={request.error} />}
      <Button type="submit" isLoading={request.isPending} isDisabled={request.isPending || !chosen || (spec.isSpan && !from)}>
        Ask for the report
      </Button>
    </Form>
  );
}
