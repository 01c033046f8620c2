/** Ask for an update or a restore: it leads to a plan, which somebody else approves before anything changes. */
import { Button } from "@patternfly/react-core/dist/dynamic/components/Button";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useId, useState } from "react";
import { can } from "../api/can";
import { api, unwrap } from "../api/client";
import type { BoundaryOut, InstallOut } from "../api/schema";
import { Ask } from "./Ask";
import { RequestAccess } from "./RequestAccess";

interface Props {
  install: InstallOut;
  boundary: BoundaryOut;
  label: string;
  /** Without a change of inputs: it sets right what was changed in the account. */
  isRepair?: boolean;
  /** Adopts what the account holds, and makes anew what is lost. */
  isRestore?: boolean;
}

const STANDING = ["installed", "partial"];

export function AskUpdate({ install, boundary, label, isRepair = false, isRestore = false }: Props) {
  const [isAsking, setAsking] = useState(false);
  const applied = install.revisions.find((r) => r.number === install.applied_revision) ?? install.revisions[0];
  const [text, setText] = useState(() => JSON.stringify(applied?.inputs ?? {}, null, 2));
  const field = useId();
  const client = useQueryClient();
  const navigate = useNavigate();
  const grant = boundary.standing?.live_grant;
  const ask = useMutation({
    mutationFn: (reason: string) => {
      const params = { path: { install_id: install.id } };
      const asked = { grant_id: grant!.id, reason };
      if (isRestore) return unwrap(api.POST("/v1/installs/{install_id}/restore", { params, body: { ...asked, empty: false } }));
      const inputs = isRepair ? null : (JSON.parse(text) as Record<string, unknown>);
      return unwrap(api.POST("/v1/installs/{install_id}/update", { params, body: { ...asked, inputs } }));
    },
    onSuccess: async (begun) => {
      setAsking(false);
      await client.invalidateQueries({ queryKey: ["installs"] });
      await navigate({ to: "/installs/$installId", params: { installId: install.id }, search: { run: begun.run_id, view: "plan" } });
    },
  });
  if (!can.install(boundary) || !STANDING.includes(install.lifecycle)) return null;
  if (grant?.state !== "active") {
    return (
      <div className="rf-verify">
        <p className="rf-muted">{label}: needs an open grant.</p>
        {!grant && can.requestGrant(boundary) && (
          <Button variant="secondary" onClick={() => setAsking(true)}>
            Ask for access
          </Button>
        )}
        {isAsking && <RequestAccess boundary={boundary} onClose={() => setAsking(false)} />}
      </div>
    );
  }
  return (
    <>
      <Button variant="secondary" onClick={() => setAsking(true)}>
        {label}
      </Button>
      {isAsking && (
        <Ask
          title={isRestore ? "Restore this install?" : isRepair ? "Set right what was changed?" : "Update this install?"}
          confirm="Make the plan"
          reasonMinimum={3}
          reasonLabel="Why"
          reasonHint="It stands in the plan and in the audit."
          isBusy={ask.isPending}
          error={ask.error}
          onConfirm={(reason) => ask.mutate(reason)}
          onClose={() => {
            setAsking(false);
            ask.reset();
          }}
        >
          <p className="rf-ask-text">
            {isRestore
              ? "What the account holds is taken into our record first, beginning from the present one; what is lost is then planned anew. Another record is chosen on the command line: ringfence install snapshots."
              : "The account is compared first."}{" "}
            Nothing in the account changes before somebody else has approved the plan.
          </p>
          {!isRepair && !isRestore && (
            <label className="rf-filter rf-ask-text" htmlFor={field}>
              Inputs, as JSON
              <textarea id={field} rows={8} spellCheck={false} value={text} onChange={(event) => setText(event.target.value)} />
            </label>
          )}
        </Ask>
      )}
    </>
  );
}
