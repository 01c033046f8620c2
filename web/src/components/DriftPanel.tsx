/** What was changed in the account outside of our runs: let it stay for a time, or set it right. */
import { Button } from "@patternfly/react-core/dist/dynamic/components/Button";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { can } from "../api/can";
import { api, unwrap } from "../api/client";
import { driftQuery, installQuery } from "../api/queries";
import type { BoundaryOut, DriftFindingOut, DriftOut, InstallOut } from "../api/schema";
import { Ask } from "./Ask";
import { ErrorAlert, ErrorState } from "./ErrorState";
import { Panel } from "./Panel";
import { Ago, Moment } from "./Time";
import { ChangeInstall } from "./ChangeInstall";
import { WaitingPart } from "./Waiting";

interface Props {
  install: InstallOut;
  boundary: BoundaryOut;
}

export function DriftPanel({ install, boundary }: Props) {
  const drift = useQuery(driftQuery(install.id));
  return (
    <Panel title="Drift">
      {drift.error ? (
        <ErrorState error={drift.error} what="The drift" onRetry={() => void drift.refetch()} />
      ) : !drift.data ? (
        <WaitingPart />
      ) : (
        <>
          <Standing drift={drift.data} />
          {drift.data.findings.length > 0 && (
            <ul className="rf-list">
              {drift.data.findings.map((f) => (
                <Finding key={f.id} finding={f} install={install} boundary={boundary} />
              ))}
            </ul>
          )}
          {drift.data.findings.length > 0 && (
            <ChangeInstall install={install} boundary={boundary} changes={["repair"]} />
          )}
          <Ended findings={drift.data.ended} installId={install.id} />
        </>
      )}
    </Panel>
  );
}

function Standing({ drift }: { drift: DriftOut }) {
  if (drift.drift_at === null) {
    return <p className="rf-muted">The account was never compared with what our runs left.</p>;
  }
  const words = { found: "Something differs", none: "As our runs left it", unknown: "Not known now" };
  return (
    <p>
      <strong>{words[drift.drift as keyof typeof words]}</strong>, last compared <Ago at={drift.drift_at} />
    </p>
  );
}

function Finding({ finding: f, install, boundary }: Props & { finding: DriftFindingOut }) {
  return (
    <li>
      <p className="rf-list-line">
        <strong>
          {f.stack}/{f.name}
        </strong>{" "}
        {f.change} <code>{f.cloud_id}</code>
      </p>
      {f.properties.length > 0 && (
        <dl className="rf-changes">
          {f.properties.map((p) => (
            <div key={p.path}>
              <dt>
                <code>{p.path}</code>
              </dt>
              <dd>
                <span className="pf-v6-screen-reader">was </span>
                <code>{p.was}</code> <span aria-hidden="true">→</span>
                <span className="pf-v6-screen-reader"> is </span> <code>{p.is}</code>
              </dd>
            </div>
          ))}
        </dl>
      )}
      {f.reason && (
        <p className="rf-muted">
          {f.is_accepted && f.accepted_until ? (
            <>
              Accepted until <Moment at={f.accepted_until} />: {f.reason}
            </>
          ) : (
            `Proposed to stay for ${f.days} days: ${f.reason}`
          )}
        </p>
      )}
      <Acceptance finding={f} install={install} boundary={boundary} />
    </li>
  );
}

function Acceptance({ finding, install, boundary }: Props & { finding: DriftFindingOut }) {
  const [isAsking, setAsking] = useState(false);
  const [days, setDays] = useState(30);
  const client = useQueryClient();
  const path = { params: { path: { install_id: install.id, finding_id: finding.id } } };
  const renew = async () => {
    setAsking(false);
    await client.invalidateQueries({ queryKey: installQuery(install.id).queryKey });
  };
  const propose = useMutation({
    mutationFn: (reason: string) =>
      unwrap(api.POST("/v1/installs/{install_id}/drift/{finding_id}/proposal", { ...path, body: { reason, days } })),
    onSuccess: renew,
  });
  const accept = useMutation({
    mutationFn: () => unwrap(api.POST("/v1/installs/{install_id}/drift/{finding_id}/accept", path)),
    onSuccess: renew,
  });
  const isProposed = finding.reason !== null && !finding.is_accepted;
  return (
    <div className="rf-verify">
      {can.proposeDrift(boundary) && !finding.is_accepted && (
        <Button variant="secondary" onClick={() => setAsking(true)}>
          Propose that it stays
        </Button>
      )}
      {can.acceptDrift(boundary) && isProposed && (
        <Button variant="secondary" isLoading={accept.isPending} isDisabled={accept.isPending} onClick={() => accept.mutate()}>
          Accept
        </Button>
      )}
      {accept.error ? <ErrorAlert error={accept.error} /> : null}
      {isAsking && (
        <Ask
          title={`May ${finding.stack}/${finding.name} stay as it is?`}
          confirm="Propose it"
          reasonMinimum={3}
          reasonLabel="Why it may stay"
          reasonHint="A second person decides on it, and it is kept."
          isBusy={propose.isPending}
          error={propose.error}
          onConfirm={(reason) => propose.mutate(reason)}
          onClose={() => {
            setAsking(false);
            propose.reset();
          }}
        >
          <label className="rf-filter rf-ask-text">
            For how many days
            <input type="number" min={1} max={365} value={days} onChange={(event) => setDays(Number(event.target.value))} />
          </label>
        </Ask>
      )}
    </div>
  );
}

function Ended({ findings, installId }: { findings: DriftFindingOut[]; installId: string }) {
  if (findings.length === 0) return null;
  return (
    <details>
      <summary>{findings.length} set right</summary>
      <ul className="rf-list">
        {findings.map((f) => (
          <li key={f.id}>
            {f.stack}/{f.name} {f.change},{" "}
            {f.remediated_by ? (
              <Link to="/installs/$installId" params={{ installId }} search={{ run: f.remediated_by, view: undefined }}>
                remediated by a run
              </Link>
            ) : (
              "seen right by a later scan"
            )}{" "}
            {f.resolved_at && <Ago at={f.resolved_at} />}
          </li>
        ))}
      </ul>
    </details>
  );
}
