/** Ask for an update or a restore: it leads to a plan, which somebody else approves before anything changes. */
import { Button } from "@patternfly/react-core/dist/dynamic/components/Button";
import { Form, FormGroup } from "@patternfly/react-core/dist/dynamic/components/Form";
import { TextArea } from "@patternfly/react-core/dist/dynamic/components/TextArea";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useId, useState } from "react";
import { can } from "../api/can";
import { api, unwrap } from "../api/client";
import type { BoundaryOut, InstallOut } from "../api/schema";
import { Ask } from "./Ask";
import { RequestAccess } from "./RequestAccess";

/** `repair` is an update without a change of inputs; `restore` adopts what the account holds and makes anew what is lost. */
type Change = "update" | "repair" | "restore";

interface Props {
  install: InstallOut;
  boundary: BoundaryOut;
  changes: Change[];
}

const WORDS: Record<Change, { label: string; title: string; said: string }> = {
  update: { label: "Update", title: "Update this install?", said: "The account is compared first." },
  repair: { label: "Set right by a run", title: "Set right what was changed?", said: "The account is compared first." },
  restore: {
    label: "Restore",
    title: "Restore this install?",
    said: "What the account holds is taken into our record first, beginning from the present one; what is lost is then planned anew. Another record is chosen on the command line: ringfence install snapshots.",
  },
};
const STANDING = ["installed", "partial"];

/** The buttons of what may change a standing install, or what they wait for, said once. */
export function ChangeInstall({ install, boundary, changes }: Props) {
  const [isAsking, setAsking] = useState<Change | "access" | null>(null);
  const grant = boundary.standing?.live_grant;
  const close = () => setAsking(null);
  if (!can.install(boundary) || !STANDING.includes(install.lifecycle)) return null;
  if (grant?.state !== "active") {
    return (
      <div className="rf-verify">
        <p className="rf-muted">
          {changes.map((change) => WORDS[change].label).join(" and ")}: {changes.length > 1 ? "both need" : "needs"} an open grant.
        </p>
        {!grant && can.requestGrant(boundary) && (
          <Button variant="secondary" onClick={() => setAsking("access")}>
            Ask for access
          </Button>
        )}
        {isAsking === "access" && <RequestAccess boundary={boundary} onClose={close} />}
      </div>
    );
  }
  return (
    <div className="rf-actions">
      {changes.map((change) => (
        <Button key={change} variant="secondary" onClick={() => setAsking(change)}>
          {WORDS[change].label}
        </Button>
      ))}
      {isAsking !== null && isAsking !== "access" && (
        <AskChange install={install} grantId={grant.id} change={isAsking} onClose={close} />
      )}
    </div>
  );
}

interface AskProps {
  install: InstallOut;
  grantId: string;
  change: Change;
  onClose: () => void;
}

function AskChange({ install, grantId, change, onClose }: AskProps) {
  const applied = install.revisions.find((r) => r.number === install.applied_revision) ?? install.revisions[0];
  const [text, setText] = useState(() => JSON.stringify(applied?.inputs ?? {}, null, 2));
  const field = useId();
  const client = useQueryClient();
  const navigate = useNavigate();
  const ask = useMutation({
    mutationFn: (reason: string) => {
      const params = { path: { install_id: install.id } };
      const asked = { grant_id: grantId, reason };
      if (change === "restore") return unwrap(api.POST("/v1/installs/{install_id}/restore", { params, body: { ...asked, empty: false } }));
      const inputs = change === "repair" ? null : (JSON.parse(text) as Record<string, unknown>);
      return unwrap(api.POST("/v1/installs/{install_id}/update", { params, body: { ...asked, inputs } }));
    },
    onSuccess: async (begun) => {
      onClose();
      await client.invalidateQueries({ queryKey: ["installs"] });
      await navigate({ to: "/installs/$installId", params: { installId: install.id }, search: { run: begun.run_id, view: "plan" } });
    },
  });
  return (
    <Ask
      title={WORDS[change].title}
      confirm="Make the plan"
      reasonMinimum={3}
      reasonLabel="Why"
      reasonHint="It stands in the plan and in the audit."
      isBusy={ask.isPending}
      error={ask.error}
      onConfirm={(reason) => ask.mutate(reason)}
      onClose={onClose}
    >
      <p className="rf-ask-text">{WORDS[change].said} Nothing in the account changes before somebody else has approved the plan.</p>
      {change === "update" && (
        <Form className="rf-ask-text rf-inputs" onSubmit={(event) => event.preventDefault()}>
          <FormGroup label="Inputs, as JSON" fieldId={field}>
            <TextArea id={field} rows={8} spellCheck={false} value={text} onChange={(_, value) => setText(value)} resizeOrientation="vertical" />
          </FormGroup>
        </Form>
      )}
    </Ask>
  );
}
