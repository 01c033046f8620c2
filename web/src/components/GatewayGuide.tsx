/** How an engineer uses a boundary: address, models, own keys, and a request to copy. */
import { Button } from "@patternfly/react-core/dist/dynamic/components/Button";
import { FormSelect, FormSelectOption } from "@patternfly/react-core/dist/dynamic/components/FormSelect";
import { useMutation, useQuery, useQueryClient, useSuspenseQuery } from "@tanstack/react-query";
import { useState } from "react";
import { can } from "../api/can";
import { api, unwrap } from "../api/client";
import { agentQuery, entitlementsQuery, keysQuery, meQuery, modelsQuery } from "../api/queries";
import type { BoundaryOut, GatewayKeyOut } from "../api/schema";
import { Ask } from "./Ask";
import { CodeBox } from "./CodeBox";
import { CopyButton } from "./Digest";
import { EmptyHint } from "./EmptyHint";
import { ErrorAlert, ErrorState } from "./ErrorState";
import { KeyTable } from "./KeyTable";
import { ShownOnce } from "./ShownOnce";
import { StateLabel } from "./States";
import { WaitingPart } from "./Waiting";

export function GatewayGuide({ boundary }: { boundary: BoundaryOut }) {
  const agent = useQuery(agentQuery(boundary.name));
  const models = useQuery(modelsQuery(boundary.name));
  const entitlements = useQuery(entitlementsQuery(boundary.name));
  const failed = agent.error ?? models.error ?? entitlements.error;
  if (failed) return <ErrorState error={failed} what="The gateway" />;
  if (!agent.data || !models.data || !entitlements.data) return <WaitingPart lines={4} />;
  const mine = new Set(entitlements.data.map((e) => e.model_version_id));
  const usable = models.data.filter((m) => mine.has(m.id));
  const groups = [...new Set(entitlements.data.map((e) => e.group))].sort();
  return (
    <div className="rf-guide">
      <Address url={agent.data.gateway_url} />
      <div>
        <h3>Models you may use</h3>
        {usable.length === 0 ? (
          <EmptyHint title="None yet.">
            Your groups have no entitlement in this boundary. Ask its administrator.
          </EmptyHint>
        ) : (
          <ul className="rf-chips">
            {usable.map((m) => (
              <li key={m.id}>
                <code>{m.name}</code> <StateLabel state={m.kind} />
              </li>
            ))}
          </ul>
        )}
      </div>
      <Keys boundary={boundary} groups={groups} />
      <Example url={agent.data.gateway_url} model={usable.at(-1)?.name} />
    </div>
  );
}

function Address({ url }: { url: string | null }) {
  return (
    <div>
      <h3>Address</h3>
      {url ? (
        <p className="rf-address">
          <code>{url}</code>
          <CopyButton text={url} label="Copy the address" />
        </p>
      ) : (
        <EmptyHint title="The gateway has not reported its address yet.">
          It does so once the boundary is installed and its agent is connected.
        </EmptyHint>
      )}
    </div>
  );
}

function Keys({ boundary, groups }: { boundary: BoundaryOut; groups: string[] }) {
  const { data: me } = useSuspenseQuery(meQuery);
  const keys = useQuery(keysQuery(boundary.name));
  const [group, setGroup] = useState<string | undefined>();
  const [leaving, setLeaving] = useState<GatewayKeyOut | null>(null);
  const client = useQueryClient();
  const renew = () => client.invalidateQueries({ queryKey: keysQuery(boundary.name).queryKey });
  const chosen = group ?? groups[0];
  const create = useMutation({
    mutationFn: () =>
      unwrap(
        api.POST("/v1/boundaries/{boundary}/gateway-keys", {
          params: { path: { boundary: boundary.name } },
          body: { group: chosen!, owner: me.subject },
        }),
      ),
    onSuccess: renew,
  });
  const revoke = useMutation({
    mutationFn: (key: GatewayKeyOut) =>
      unwrap(
        api.POST("/v1/boundaries/{boundary}/gateway-keys/{key_id}/revoke", {
          params: { path: { boundary: boundary.name, key_id: key.id } },
        }),
      ),
    onSuccess: async () => {
      setLeaving(null);
      await renew();
    },
  });
  return (
    <div>
      <div className="rf-row">
        <h3>{can.seeStanding(boundary) ? "Keys" : "Your keys"}</h3>
        <span className="rf-grow" />
        {can.createKey(boundary) && groups.length > 0 && (
          <>
            {groups.length > 1 && (
              <FormSelect
                aria-label="Group of the key"
                value={chosen}
                onChange={(_, value) => setGroup(value)}
                className="rf-narrow"
              >
                {groups.map((name) => (
                  <FormSelectOption key={name} value={name} label={name} />
                ))}
              </FormSelect>
            )}
            <Button
              variant="secondary"
              isLoading={create.isPending}
              isDisabled={create.isPending}
              onClick={() => create.mutate()}
            >
              Create a key
            </Button>
          </>
        )}
      </div>
      {create.data && (
        <ShownOnce what="Your key" secret={create.data.key} onDone={() => create.reset()} />
      )}
      {create.error && <ErrorAlert error={create.error} />}
      {keys.isPending ? (
        <WaitingPart lines={2} />
      ) : keys.error ? (
        <ErrorState error={keys.error} what="Keys" onRetry={() => void keys.refetch()} />
      ) : keys.data.length === 0 ? (
        <EmptyHint title="No key yet.">
          {can.createKey(boundary)
            ? "Create one: it opens only the models above, only in this boundary, for 90 days."
            : "Engineers of the boundary create their own."}
        </EmptyHint>
      ) : (
        <KeyTable keys={keys.data} mayRevoke={(k) => can.revokeKey(boundary, k.owner.id, me)} onRevoke={setLeaving} />
      )}
      {leaving && (
        <Ask
          title="Revoke this key?"
          confirm="Revoke the key"
          isDanger
          isBusy={revoke.isPending}
          error={revoke.error}
          onConfirm={() => revoke.mutate(leaving)}
          onClose={() => setLeaving(null)}
        >
          <p>
            Requests with it are refused once the gateway has the next bundle, usually within a
            minute. A revoked key does not come back.
          </p>
        </Ask>
      )}
    </div>
  );
}

function Example({ url, model }: { url: string | null; model: string | undefined }) {
  if (!url || !model) return null;
  return (
    <div>
      <h3>First request</h3>
      <CodeBox
        label="A first request with the official client"
        text={`from pathlib import Path

from openai import OpenAI

client = OpenAI(base_url="${url}/v1", api_key=Path("key").read_text().strip())
answer = client.chat.completions.create(
    model="${model}",
    messages=[{"role": "user", "content": "write a test for settle()"}],
)
print(answer.choices[0].message.content)`}
      />
      <p className="rf-muted">
        Any client of the OpenAI API works: set its base URL to the address and its key to yours.
        Prompts and answers stay in the boundary.
      </p>
    </div>
  );
}
