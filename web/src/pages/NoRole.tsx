/** The first page of somebody who was let in by the identity provider and has no role yet. */
import { PageSection } from "@patternfly/react-core/dist/dynamic/components/Page";
import { useQuery } from "@tanstack/react-query";
import { can } from "../api/can";
import { meQuery, type Me } from "../api/queries";
import { CodeBox } from "../components/CodeBox";
import { PageHead } from "../components/PageHead";
import { Panel } from "../components/Panel";

const LOOK_AGAIN_MS = 5_000;

export function NoRole({ me }: { me: Me }) {
  // Home shows the boundaries instead of this as soon as there is a role.
  useQuery({ ...meQuery, refetchInterval: LOOK_AGAIN_MS });
  const guestOf = me.roles.filter((r) => r.pending_guest).map((r) => r.organization);
  return (
    <>
      <PageHead title={`Welcome, ${me.display}`} about="You are signed in. What you may see here follows from your role." />
      <PageSection isWidthLimited>
        {guestOf.length > 0 ? (
          <Panel title="You are not let in yet">
            <p>
              {me.organization} names you as a guest from another identity provider. Two of its approvers or
              administrators let you in by approving a waiver, under Approvals. This page goes on by itself once that is
              done.
            </p>
          </Panel>
        ) : (
          <Panel title="You have no role yet">
            <ol className="rf-steps">
              <li>
                Send this to an administrator or architect of your organization. It is how you are named in its file:
                <CodeBox label="How you are named in the organization's file" text={`subject: ${me.subject}\nissuer: ${me.issuer}`} />
              </li>
              <li>
                They name you there under <code>people</code>, or in a group, and apply the file. Where groups come from
                your identity provider, being put into the right one there is enough: sign in again after it.
              </li>
              <li>This page goes on by itself once you have a role.</li>
            </ol>
          </Panel>
        )}
        {can.describe(me) && <Describe />}
      </PageSection>
    </>
  );
}

/** How an organization comes into being, for whoever may bring it. */
export function Describe() {
  return (
    <Panel title="Describe an organization">
      <p>Its file names people, groups, accounts and boundaries. Check it, then apply it:</p>
      <CodeBox
        label="Check and apply an organization's file"
        text={"ringfence organization validate organization.yaml\nringfence organization apply organization.yaml"}
      />
      <p className="rf-muted">An example to begin with lies in the source tree: examples/acme/organization.yaml.</p>
    </Panel>
  );
}
