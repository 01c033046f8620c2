/** The one thing to do next in a boundary, with the button that does it for whoever may. */
import { Button } from "@patternfly/react-core/dist/dynamic/components/Button";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { can } from "../api/can";
import { api, unwrap } from "../api/client";
import { nextStep } from "../api/nextStep";
import type { BoundaryOut } from "../api/schema";
import { Ask } from "./Ask";
import { OpenRole } from "./OpenRole";
import { RequestAccess } from "./RequestAccess";

export function NextStepCard({ boundary, withName }: { boundary: BoundaryOut; withName?: boolean }) {
  const step = nextStep(boundary);
  if (!step) return null;
  return (
    <div className={`rf-next rf-next-${step.kind}`}>
      <div>
        {withName && (
          <p className="rf-next-where">
            <Link to="/boundaries/$boundary" params={{ boundary: boundary.name }}>
              {boundary.display_name}
            </Link>
          </p>
        )}
        <p className="rf-next-title">{step.title}</p>
        <p className="rf-next-text">{step.text}</p>
      </div>
      <div className="rf-next-action">
        <Action boundary={boundary} kind={step.kind} />
      </div>
      {step.kind === "open" && <OpenRole boundary={boundary} />}
    </div>
  );
}

function Action({ boundary, kind }: { boundary: BoundaryOut; kind: string }) {
  const [isAsking, setAsking] = useState(false);
  const grant = boundary.standing?.live_grant;
  const install = boundary.standing?.installs[0];
  switch (kind) {
    case "request":
      if (!can.requestGrant(boundary)) return <p className="rf-muted">A solution architect asks for it.</p>;
      return (
        <>
          <Button onClick={() => setAsking(true)}>Ask for access</Button>
          {isAsking && <RequestAccess boundary={boundary} onClose={() => setAsking(false)} />}
        </>
      );
    case "decide-grant":
      return grant ? (
        <Link className="rf-button" to="/approvals/$kind/$id" params={{ kind: "grant", id: grant.id }}>
          Read the request
        </Link>
      ) : null;
    case "decide-plan":
      return install?.newest_run ? (
        <Link className="rf-button" to="/approvals/$kind/$id" params={{ kind: "plan", id: install.newest_run.id }}>
          Read the plan
        </Link>
      ) : null;
    case "install":
      if (!can.install(boundary)) return <p className="rf-muted">A solution architect starts it.</p>;
      return <StartInstall boundary={boundary} />;
    case "follow":
    case "look":
      return install ? (
        <Link className="rf-button" to="/installs/$installId" params={{ installId: install.id }}>
          {kind === "look" ? "See why" : "Follow"}
        </Link>
      ) : null;
    case "none":
      return install ? (
        <Link to="/installs/$installId" params={{ installId: install.id }}>
          Install and certificate
        </Link>
      ) : null;
    default:
      return null;
  }
}

function StartInstall({ boundary }: { boundary: BoundaryOut }) {
  const [isAsking, setAsking] = useState(false);
  const navigate = useNavigate();
  const client = useQueryClient();
  const start = useMutation({
    mutationFn: () =>
      unwrap(
        api.POST("/v1/installs", {
          body: { boundary: boundary.id, grant_id: boundary.standing!.live_grant!.id },
        }),
      ),
    onSuccess: async ({ install_id }) => {
      await client.invalidateQueries({ queryKey: ["boundaries"] });
      await navigate({ to: "/installs/$installId", params: { installId: install_id } });
    },
  });
  return (
    <>
      <Button onClick={() => setAsking(true)}>Start the install</Button>
      {isAsking && (
        <Ask
          title={`Install into ${boundary.display_name}?`}
          confirm="Start with the plan"
          isBusy={start.isPending}
          error={start.error}
          onConfirm={() => start.mutate()}
          onClose={() => setAsking(false)}
        >
          <p>
            Blueprint {boundary.blueprint} {boundary.blueprint_version} with the inputs of the
            organization's file. First the account is checked and a plan is made; a second person
            approves it before anything is built.
          </p>
        </Ask>
      )}
    </>
  );
}
