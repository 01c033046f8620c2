/** One thing that waits: what is asked, why, for how long, what exactly; then the decision. */
import { Alert } from "@patternfly/react-core/dist/dynamic/components/Alert";
import { Button } from "@patternfly/react-core/dist/dynamic/components/Button";
import { PageSection } from "@patternfly/react-core/dist/dynamic/components/Page";
import { useMutation, useQueryClient, useSuspenseQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams } from "@tanstack/react-router";
import { useState } from "react";
import { api, unwrap } from "../api/client";
import { approvalsQuery, chosenOrganization, meQuery, organizationsOf } from "../api/queries";
import type { PendingOut } from "../api/schema";
import { Ask } from "../components/Ask";
import { Digest } from "../components/Digest";
import { EmptyHint } from "../components/EmptyHint";
import { Facts } from "../components/Facts";
import { PageHead } from "../components/PageHead";
import { Panel } from "../components/Panel";
import { KINDS } from "../components/PendingList";
import { PermissionsPanel } from "../components/PermissionsPanel";
import { PlanPanel } from "../components/PlanPanel";
import { StateLabel } from "../components/States";
import { Ago, Countdown, duration, Moment } from "../components/Time";
import { useNow } from "../hooks/useNow";

const TRAIL = [{ label: "Approvals", to: "/approvals" }];

export function Approval() {
  const { kind, id } = useParams({ strict: false }) as { kind: string; id: string };
  const { data } = useSuspenseQuery(approvalsQuery);
  const item = data.find((a) => a.kind === kind && a.id === id);
  if (!item) {
    return (
      <>
        <PageHead title="Approval" trail={TRAIL} />
        <PageSection isWidthLimited>
          <EmptyHint title="This no longer waits." action={<Link to="/approvals">All approvals</Link>}>
            It was decided, withdrawn or is over; its run or boundary shows what became of it.
          </EmptyHint>
        </PageSection>
      </>
    );
  }
  return (
    <>
      <PageHead
        title={item.title}
        trail={TRAIL}
        labels={<StateLabel state={KINDS[item.kind] ?? item.kind} />}
        actions={item.may_decide ? <Decide item={item} /> : undefined}
      />
      <PageSection isWidthLimited>
        <FourEyes item={item} />
        <Panel title="What is asked">
          <Facts items={facts(item)} />
        </Panel>
        {item.kind === "plan" && <PlanPanel runId={item.id} />}
        {item.grant_id && (item.kind === "grant" || item.permissions) && (
          <PermissionsPanel
            grant={item.grant_id}
            title={item.kind === "plan" ? "Permissions that it is applied with" : "Permissions asked for"}
          />
        )}
      </PageSection>
    </>
  );
}

function facts(item: PendingOut): [string, React.ReactNode][] {
  return [
    [
      "Boundary",
      item.boundary && (
        <Link to="/boundaries/$boundary" params={{ boundary: item.boundary.name }}>
          {item.boundary.display_name}
        </Link>
      ),
    ],
    ["Asked by", item.requested_by && named(item.requested_by)],
    ["Asked", <Ago key="asked" at={item.requested_at} />],
    ["Reason", item.reason],
    ["Ticket", item.ticket],
    ["Can be approved until", item.kind === "override" && item.ends_at && <Moment key="late" at={item.ends_at} />],
    ["Lasts", item.duration_seconds && `${duration(item.duration_seconds)} from the approval on`],
    [
      "If approved now",
      item.duration_seconds && <WouldEnd key="end" kind={item.kind} seconds={item.duration_seconds} />,
    ],
    [
      "Access ends",
      item.grant_until && (
        <span key="until">
          in <Countdown until={item.grant_until} />, at <Moment at={item.grant_until} />
        </span>
      ),
    ],
    [
      "In force",
      item.kind === "guest" && item.ends_at && (
        <span key="window">
          from the {item.approvals_needed === 2 ? "second" : "last"} approval on
          {item.starts_at && new Date(item.starts_at) > new Date() && (
            <>
              , not before <Moment at={item.starts_at} />
            </>
          )}
          , until <Moment at={item.ends_at} />
        </span>
      ),
    ],
    [
      "Approved by",
      item.approvals_needed > 1 &&
        `${item.approved_by.map(named).join(", ") || "nobody yet"} (${item.approved_by.length} of ${item.approvals_needed})`,
    ],
    [
      { plan: "Digest of the plan", grant: "Digest of the policy", guest: "Digest of the terms", override: "" }[item.kind],
      item.digest && <Digest key="digest" value={item.digest} />,
    ],
  ];
}

/** The way is open only after the customer's stack update, and never past this moment. */
function WouldEnd({ kind, seconds }: { kind: PendingOut["kind"]; seconds: number }) {
  const end = new Date(useNow() + seconds * 1000);
  end.setMilliseconds(0);
  if (kind === "override") {
    return (
      <>
        runs may change the boundary until <Moment at={end.toISOString()} />
      </>
    );
  }
  return (
    <>
      nothing works past <Moment at={end.toISOString()} />; it opens only with your stack update, and
      you can end it earlier at any time
    </>
  );
}

function named({ display, subject }: { display: string; subject: string }): string {
  return display === subject ? subject : `${display} (${subject})`;
}

function FourEyes({ item }: { item: PendingOut }) {
  if (item.may_decide) return null;
  if (item.why_not === "four-eyes" && item.kind === "guest") {
    return (
      <Alert variant="info" isInline component="p" title="Others decide on this">
        Two people of the organization approve a guest. You asked for it, are the guest, or have
        approved it already; send another approver this page's address.
      </Alert>
    );
  }
  if (item.why_not === "four-eyes") {
    return (
      <Alert variant="info" isInline component="p" title="This is your own request">
        Another person decides on it: what one asks for, a second one approves (four eyes). Any
        approver of {item.boundary?.display_name ?? "the organization"} can; send them this page's
        address.
      </Alert>
    );
  }
  return (
    <Alert variant="info" isInline component="p" title="You can read this, but not decide on it">
      Deciding needs the role approver
      {item.boundary ? ` in ${item.boundary.display_name}` : " in the organization"}.
    </Alert>
  );
}

type Decision = "approve" | "deny";

function Decide({ item }: { item: PendingOut }) {
  const [asking, setAsking] = useState<Decision | null>(null);
  const { data: me } = useSuspenseQuery(meQuery);
  const client = useQueryClient();
  const navigate = useNavigate();
  const decide = useMutation({
    mutationFn: ({ decision, reason }: { decision: Decision; reason: string }) =>
      send(item, decision, reason, chosenOrganization(organizationsOf(me))),
    onSuccess: async () => {
      await navigate({ to: "/approvals" });
      await client.invalidateQueries();
    },
  });
  return (
    <>
      <Button onClick={() => setAsking("approve")}>Approve</Button>
      {/* There is nothing to deny in a wish that ends by itself when nobody approves it. */}
      {item.kind !== "override" && (
        <Button variant="secondary" isDanger onClick={() => setAsking("deny")}>
          Deny
        </Button>
      )}
      {asking && (
        <Ask
          title={asking === "approve" ? `Approve: ${item.title}?` : `Deny: ${item.title}?`}
          confirm={asking === "approve" ? "Approve" : "Deny"}
          isDanger={asking === "deny"}
          reasonMinimum={item.kind === "override" ? undefined : asking === "deny" ? 3 : 0}
          isBusy={decide.isPending}
          error={decide.error}
          onConfirm={(reason) => decide.mutate({ decision: asking, reason })}
          onClose={() => {
            setAsking(null);
            decide.reset();
          }}
        >
          <p className="rf-ask-text">{consequence(item, asking)}</p>
        </Ask>
      )}
    </>
  );
}

function consequence(item: PendingOut, decision: Decision): string {
  if (item.kind === "guest") {
    if (decision === "deny") return "They stay out. Somebody may ask again, under new terms.";
    return item.approved_by.length + 1 < item.approvals_needed
      ? "They stay out until another person approves exactly these terms too."
      : "Yours is the last approval: they get the roles that the organization's file gives them, until the end shown. One person can revoke it at any time.";
  }
  if (item.kind === "override") {
    return `Runs of ${item.boundary?.display_name ?? "the boundary"} may change it for ${duration(item.duration_seconds ?? 0)} from now, also outside its windows. Runs that wait go on at once; it ends by itself.`;
  }
  if (item.kind === "grant") {
    return decision === "approve"
      ? `Access may be opened for ${duration(item.duration_seconds ?? 0)} from now. It opens only when the customer updates their stack, and exactly the policy shown is approved.`
      : "No access is opened. The requester reads your reason and may ask again.";
  }
  return decision === "approve"
    ? "Exactly this plan is applied, by its digest; a plan that differs comes back here."
    : "Nothing is built, and access is closed.";
}

function send(item: PendingOut, decision: Decision, reason: string, organization: string | null): Promise<unknown> {
  const grant = { path: { grant_id: item.id } };
  const run = { path: { run_id: item.id } };
  const waiver = { path: { name: organization ?? "", waiver_id: item.id } };
  if (item.kind === "override") {
    return unwrap(
      api.POST("/v1/boundaries/{boundary}/window-overrides/{override_id}/approve", {
        params: { path: { boundary: item.boundary?.name ?? "", override_id: item.id } },
      }),
    );
  }
  if (item.kind === "guest") {
    return decision === "approve"
      ? unwrap(
          api.POST("/v1/organizations/{name}/waivers/{waiver_id}/approve", {
            params: waiver,
            body: { digest: item.digest ?? "", reason },
          }),
        )
      : unwrap(
          api.POST("/v1/organizations/{name}/waivers/{waiver_id}/deny", {
            params: waiver,
            body: { reason },
          }),
        );
  }
  if (item.kind === "grant") {
    return decision === "approve"
      ? unwrap(
          api.POST("/v1/grants/{grant_id}/approve", {
            params: grant,
            body: { policy_digest: item.digest, reason },
          }),
        )
      : unwrap(api.POST("/v1/grants/{grant_id}/deny", { params: grant, body: { reason } }));
  }
  return decision === "approve"
    ? unwrap(
        api.POST("/v1/runs/{run_id}/approve", {
          params: run,
          body: { digest: item.digest ?? "", reason },
        }),
      )
    : unwrap(api.POST("/v1/runs/{run_id}/deny", { params: run, body: { reason } }));
}
