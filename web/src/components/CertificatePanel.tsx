/** The install certificate, as it was signed: read here, verified elsewhere. */
import { useQuery } from "@tanstack/react-query";
import { ApiError } from "../api/client";
import { certificateQuery } from "../api/queries";
import type { InstallOut } from "../api/schema";
import { CodeBox } from "./CodeBox";
import { Digest } from "./Digest";
import { EmptyHint } from "./EmptyHint";
import { ErrorState } from "./ErrorState";
import { Facts } from "./Facts";
import { Panel } from "./Panel";
import { duration, Moment } from "./Time";
import { WaitingPart } from "./Waiting";

/** wire/certificate.py, `InstallCertificate` or `RemovalCertificate`: the part that is shown. */
interface Certificate {
  id: string;
  install_id: string;
  outcome: string;
  emulated: boolean;
  time_scale: number;
  started_at: string;
  finished_at: string;
  issued_at: string;
  permissions_granted?: number;
  permissions_used?: number | null;
  /** Of a removal only. */
  removed?: { id: string }[];
  retained?: { id: string; reason: string }[];
  plan_digest: string | null;
  residue: { kind: string; name: string; expected: boolean }[];
  access: {
    grant_number: number;
    closed_by: string;
    way_in_closed_at: string | null;
    power_removed_at: string | null;
    role_deleted_at: string | null;
    proofs: { action: string; error_code: string; denied_at: string }[];
    way_in: WayIn | null;
  };
}

/** What was seen of the way into the cluster once it was shut. */
interface WayIn {
  way: string;
  access_entries: number;
  public_endpoint: boolean | null;
  endpoint_changes: number | null;
  running_tasks: number | null;
}

interface CertificateFile {
  envelope: { payload: string; signatures: { keyid: string }[] };
  keys: Record<string, string>;
}

export function CertificatePanel({ install }: { install: InstallOut }) {
  const file = useQuery(certificateQuery(install.id));
  const isMissing = file.error instanceof ApiError && file.error.status === 404;
  return (
    <Panel title="Install certificate" aside={file.data && <Download file={file.data} name={`${install.boundary}.certificate.json`} />}>
      {isMissing ? (
        <EmptyHint title="There is no certificate yet.">It is signed at the end of a run, once access has ended.</EmptyHint>
      ) : file.error ? (
        <ErrorState error={file.error} what="The certificate" onRetry={() => void file.refetch()} />
      ) : file.data ? (
        <Shown file={file.data as unknown as CertificateFile} name={install.boundary} />
      ) : (
        <WaitingPart lines={4} />
      )}
    </Panel>
  );
}

function Download({ file, name }: { file: unknown; name: string }) {
  return (
    <button
      type="button"
      className="rf-textlink"
      onClick={() => {
        const url = URL.createObjectURL(new Blob([JSON.stringify(file, null, 2)], { type: "application/json" }));
        const link = document.createElement("a");
        link.href = url;
        link.download = name;
        link.click();
        URL.revokeObjectURL(url);
      }}
    >
      Download
    </button>
  );
}

function Shown({ file, name }: { file: CertificateFile; name: string }) {
  const c = JSON.parse(decode(file.envelope.payload)) as Certificate;
  const findings = c.residue.filter((r) => !r.expected);
  return (
    <div className="rf-certificate">
      {c.emulated && <p className="rf-note">Rehearsal: the account was emulated (time scale {c.time_scale}). No claim about a real account rests on it.</p>}
      <Facts
        items={[
          ["Outcome", c.outcome],
          ["Took", duration((Date.parse(c.finished_at) - Date.parse(c.started_at)) / 1000)],
          ["Signed by", `${file.envelope.signatures.length} ${file.envelope.signatures.length === 1 ? "key, not countersigned" : "keys: ours and the agent's"}`],
          ...(c.removed
            ? ([
                ["Removed", `${c.removed.length} resources`],
                ["Retained", c.retained?.length ? c.retained.map((r) => r.id).join(", ") : "nothing"],
              ] as [string, string][])
            : ([["Permissions", `${c.permissions_granted} granted, ${c.permissions_used ?? "?"} seen in use`]] as [string, string][])),
          ["Plan", c.plan_digest && <Digest key="plan" value={c.plan_digest} label="digest of the plan" />],
          ["Way in closed", c.access.way_in_closed_at && <Moment key="way" at={c.access.way_in_closed_at} />],
          ...(c.access.way_in ? ([["Seen then", wayIn(c.access.way_in)]] as [string, string][]) : []),
          ["Power removed", c.access.power_removed_at && <Moment key="power" at={c.access.power_removed_at} />],
          ["Role deleted", c.access.role_deleted_at && <span key="role"><Moment at={c.access.role_deleted_at} />, by the {c.access.closed_by}</span>],
          ["Proofs", `${c.access.proofs.length} attempts denied`],
          ["Left of us", findings.length === 0 ? "nothing unexpected" : findings.map((f) => `${f.kind} ${f.name}`).join(", ")],
          ["Issued", <Moment key="issued" at={c.issued_at} />],
        ]}
      />
      <CodeBox label="Verify the certificate offline" text={`ringfence certificate verify ${name}.certificate.json --pin <fingerprint from your template>`} />
      <p className="rf-muted">The signatures are checked by that command, with the pin you hold; this page only shows what is written.</p>
      {(c.outcome === "succeeded" || c.outcome === "kept") && (
        <CodeBox label="Take-over kit: what the customer needs to go on without us" text={`ringfence install takeover ${c.install_id} --to ${name}-kit --public-key <file from: ringfence takeover key>`} />
      )}
    </div>
  );
}

function wayIn(way: WayIn): string {
  const neverPublic = way.endpoint_changes === 0 && way.public_endpoint === false;
  return [
    way.way,
    `${way.access_entries} access entries of ours`,
    way.public_endpoint !== null && `endpoint ${way.public_endpoint ? "public" : neverPublic ? "private since it was made" : "private"}`,
    way.running_tasks !== null && `${way.running_tasks} runner tasks`,
  ]
    .filter(Boolean)
    .join(", ");
}

function decode(base64: string): string {
  return new TextDecoder().decode(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)));
}
