/** The person's own access tokens, for the command line and scripts: made, shown once, revoked. */
import { Button } from "@patternfly/react-core/dist/dynamic/components/Button";
import { Form, FormGroup } from "@patternfly/react-core/dist/dynamic/components/Form";
import { FormSelect, FormSelectOption } from "@patternfly/react-core/dist/dynamic/components/FormSelect";
import { PageSection } from "@patternfly/react-core/dist/dynamic/components/Page";
import { TextInput } from "@patternfly/react-core/dist/dynamic/components/TextInput";
import { useMutation, useQuery, useQueryClient, useSuspenseQuery } from "@tanstack/react-query";
import { useState } from "react";
import { isMissingRoute } from "../api/errors";
import { api, unwrap } from "../api/client";
import type { TokenOut } from "../api/schema";
import { meQuery, tokensQuery } from "../api/queries";
import { Ask } from "../components/Ask";
import { EmptyHint } from "../components/EmptyHint";
import { ErrorAlert, ErrorState } from "../components/ErrorState";
import { PageHead } from "../components/PageHead";
import { Panel } from "../components/Panel";
import { ShownOnce } from "../components/ShownOnce";
import { StateLabel } from "../components/States";
import { Ago, Moment } from "../components/Time";
import { WaitingPart } from "../components/Waiting";

const LIFETIMES = [7, 30, 90];

export function Tokens() {
  const tokens = useQuery(tokensQuery);
  const [leaving, setLeaving] = useState<TokenOut | null>(null);
  const client = useQueryClient();
  const revoke = useMutation({
    mutationFn: (token: TokenOut) =>
      unwrap(api.POST("/v1/tokens/{token_id}/revoke", { params: { path: { token_id: token.id } } })),
    onSuccess: async () => {
      setLeaving(null);
      await client.invalidateQueries({ queryKey: tokensQuery.queryKey });
    },
  });
  const { data: me } = useSuspenseQuery(meQuery);
  // An administrator's list also has the tokens of services; this page is about the person's own.
  const live = (tokens.data ?? []).filter((t) => t.state !== "revoked" && t.holder.id === me.id);
  return (
    <>
      <PageHead title="My access tokens" about="For the command line and scripts. A token acts as you, and ends on its own." />
      <PageSection isWidthLimited>
        {!isMissingRoute(tokens.error) && (
          <Panel title="New token">
            <CreateToken />
          </Panel>
        )}
        <Panel title="Tokens">
          {tokens.isPending ? (
            <WaitingPart />
          ) : tokens.error ? (
            <ErrorState error={tokens.error} what="Access tokens" onRetry={() => void tokens.refetch()} />
          ) : live.length === 0 ? (
            <EmptyHint title="You have no token." />
          ) : (
            <ul className="rf-list">
              {live.map((token) => (
                <li key={token.id}>
                  <div className="rf-list-line">
                    <span className="rf-strong">{token.name}</span>
                    {token.prefix && <code>{token.prefix}…</code>}
                    {token.state === "expired" && <StateLabel state="expired" />}
                    <span className="rf-grow" />
                    <Button variant="link" isInline isDanger onClick={() => setLeaving(token)} aria-label={`Revoke ${token.name}`}>
                      Revoke
                    </Button>
                  </div>
                  <p className="rf-muted">
                    {token.roles ? `only as ${token.roles.join(", ")}` : "with all your roles"}
                    {token.boundary ? ` in ${token.boundary}` : ""} · made <Ago at={token.created_at} /> · ends <Moment at={token.expires_at} />
                    {token.last_used_at && <> · last used <Ago at={token.last_used_at} /></>}
                  </p>
                </li>
              ))}
            </ul>
          )}
        </Panel>
        {leaving && (
          <Ask
            title={`Revoke ${leaving.name}?`}
            confirm="Revoke the token"
            isDanger
            isBusy={revoke.isPending}
            error={revoke.error}
            onConfirm={() => revoke.mutate(leaving)}
            onClose={() => setLeaving(null)}
          >
            <p>Whatever uses it is refused from the next request on.</p>
          </Ask>
        )}
      </PageSection>
    </>
  );
}

function CreateToken() {
  const [name, setName] = useState("");
  const [days, setDays] = useState(30);
  const client = useQueryClient();
  const create = useMutation({
    mutationFn: () => unwrap(api.POST("/v1/tokens", { body: { name: name.trim(), lifetime_days: days } })),
    onSuccess: async () => {
      setName("");
      await client.invalidateQueries({ queryKey: tokensQuery.queryKey });
    },
  });
  return (
    <>
      {create.data && <ShownOnce what="Your token" secret={create.data.token} onDone={() => create.reset()} />}
      <Form
        isHorizontal
        onSubmit={(event) => {
          event.preventDefault();
          if (name.trim()) create.mutate();
        }}
      >
        <FormGroup label="Name" fieldId="token-name" isRequired>
          <TextInput id="token-name" value={name} maxLength={100} isRequired placeholder="what it is for" onChange={(_, v) => setName(v)} />
        </FormGroup>
        <FormGroup label="Ends after" fieldId="token-days">
          <FormSelect id="token-days" value={String(days)} onChange={(_, v) => setDays(Number(v))}>
            {LIFETIMES.map((n) => (
              <FormSelectOption key={n} value={String(n)} label={`${n} days`} />
            ))}
          </FormSelect>
        </FormGroup>
        {create.error && <ErrorAlert error={create.error} />}
        <div>
          <Button type="submit" isDisabled={!name.trim() || create.isPending} isLoading={create.isPending}>
            Create the token
          </Button>
        </div>
      </Form>
    </>
  );
}
