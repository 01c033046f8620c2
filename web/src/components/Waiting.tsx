import { PageSection } from "@patternfly/react-core/dist/dynamic/components/Page";
import { Skeleton } from "@patternfly/react-core/dist/dynamic/components/Skeleton";

/** A page that is being loaded for longer than a blink. */
export function Waiting() {
  return (
    <PageSection isWidthLimited>
      <WaitingPart lines={5} />
    </PageSection>
  );
}

export function WaitingPart({ lines = 3 }: { lines?: number }) {
  return (
    <div className="rf-waiting" role="status">
      <span className="pf-v6-screen-reader">Loading</span>
      {Array.from({ length: lines }, (_, i) => (
        <Skeleton key={i} width={`${90 - ((i * 17) % 45)}%`} height="1.1rem" />
      ))}
    </div>
  );
}
