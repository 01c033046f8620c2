import { useSuspenseQuery } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import { boundaryQuery } from "../api/queries";
import { GatewayGuide } from "../components/GatewayGuide";
import { Panel } from "../components/Panel";

export function Gateway() {
  const { boundary: name } = useParams({ strict: false }) as { boundary: string };
  const { data: boundary } = useSuspenseQuery(boundaryQuery(name));
  return (
    <Panel title="Use the gateway">
      <GatewayGuide boundary={boundary} />
    </Panel>
  );
}
