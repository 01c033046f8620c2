/** What the customer sets to open the role, and the probe that shows that only we are let in. */
import { Button } from "@patternfly/react-core/dist/dynamic/components/Button";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { can } from "../api/can";
import { api, unwrap } from "../api/client";
import { connectionQuery, grantQuery } from "../api/queries";
import type { BoundaryOut } from "../api/schema";
import { CopyButton } from "./Digest";
import { ErrorAlert } from "./ErrorState";

const OVER = ["passed", "failed"];

export function OpenRole({ boundary }: { boundary: BoundaryOut }) {
  const grant = useQuery(grantQuery(boundary.standing!.live_grant!.id));
  if (!grant.data) return null;
  const parameters = Object.entries(grant.data.stack_parameters);
  return (
    <div className="rf-open-role">
      <p>
        Stack <code>ringfence-{boundary.name}</code>, role <code>{grant.data.role_name}</code>:
      </p>
      <ul className="rf-parameters">
        {parameters.map(([name, value]) => (
          <li key={name}>
            <code>
              {name}={value}
            </code>
            <CopyButton text={value} label={`Copy ${name}`} />
          </li>
        ))}
      </ul>
      {can.verify(boundary) && <Verify boundary={boundary} grantId={grant.data.id} />}
    </div>
  );
}

function Verify({ boundary, grantId }: { boundary: BoundaryOut; grantId: string }) {
  const connection = useQuery(connectionQuery(boundary.name));
  const [id, setId] = useState<string | null>(null);
  const client = useQueryClient();
  const ask = useMutation({
    mutationFn: () =>
      unwrap(
        api.POST("/v1/connections/{connection_id}/verifications", {
          params: { path: { connection_id: connection.data!.id } },
          body: { expect: "open", grant_id: grantId },
        }),
      ),
    onSuccess: (made) => setId(made.id),
  });
  const probe = useQuery({
    queryKey: ["verifications", id],
    enabled: id !== null,
    refetchInterval: (q) => (q.state.data && OVER.includes(q.state.data.state) ? false : 1000),
    queryFn: async () => {
      const found = await unwrap(
        api.GET("/v1/verifications/{verification_id}", { params: { path: { verification_id: id! } } }),
      );
      if (OVER.includes(found.state)) await client.invalidateQueries({ queryKey: ["boundaries"] });
      return found;
    },
  });
  const isBusy = ask.isPending || (id !== null && !OVER.includes(probe.data?.state ?? ""));
  return (
    <div className="rf-verify">
      <Button variant="secondary" isDisabled={!connection.data || isBusy} isLoading={isBusy} onClick={() => ask.mutate()}>
        Verify the role
      </Button>
      {probe.data && OVER.includes(probe.data.state) && (
        <p role="status">
          {probe.data.passed
            ? "Only our external id is let in: access is open."
            : `Not open as it must be: ${probe.data.attempts.map((a) => `${a.external_id} ${a.allowed ? "let in" : "denied"}`).join(", ") || "the probe could not be made"}.`}
        </p>
      )}
      {(ask.error ?? probe.error) && <ErrorAlert error={ask.error ?? probe.error} />}
    </div>
  );
}
