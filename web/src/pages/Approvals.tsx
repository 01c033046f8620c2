import { PageSection } from "@patternfly/react-core/dist/dynamic/components/Page";
import { useSuspenseQuery } from "@tanstack/react-query";
import { approvalsQuery } from "../api/queries";
import { EmptyHint } from "../components/EmptyHint";
import { PageHead } from "../components/PageHead";
import { Panel } from "../components/Panel";
import { PendingList } from "../components/PendingList";

/** What waits: first what this person may decide, then what others must. */
export function Approvals() {
  const { data } = useSuspenseQuery(approvalsQuery);
  const mine = data.filter((a) => a.may_decide);
  const others = data.filter((a) => !a.may_decide);
  return (
    <>
      <PageHead
        title="Approvals"
        about="A second person decides on access and on plans, two people on guests. Nobody decides on their own request."
      />
      <PageSection isWidthLimited>
        {data.length === 0 ? (
          <Panel title="Waiting">
            <EmptyHint title="Nothing waits for a decision.">
              Requests for access, plans and guests appear here by themselves.
            </EmptyHint>
          </Panel>
        ) : (
          <>
            <Panel title={`Waiting for you (${mine.length})`}>
              {mine.length > 0 ? (
                <PendingList items={mine} />
              ) : (
                <EmptyHint title="Nothing that you may decide." />
              )}
            </Panel>
            {others.length > 0 && (
              <Panel title={`Waiting for others (${others.length})`}>
                <PendingList items={others} />
              </Panel>
            )}
          </>
        )}
      </PageSection>
    </>
  );
}
