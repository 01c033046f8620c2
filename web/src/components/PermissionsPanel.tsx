/** The permissions that a grant opens, statement by statement, from the template itself. */
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { connectionQuery, grantsQuery, templateQuery } from "../api/queries";
import type { GrantOut } from "../api/schema";
import { statementsOf, type Statement } from "../api/template";
import { ErrorState } from "./ErrorState";
import { Panel } from "./Panel";
import { StateLabel } from "./States";
import { WaitingPart } from "./Waiting";

export function PermissionsPanel({ boundary, digest }: { boundary: string; digest: string | null }) {
  const connection = useQuery(connectionQuery(boundary));
  const template = useQuery({
    ...templateQuery(connection.data?.id ?? ""),
    enabled: connection.data !== undefined,
  });
  const grants = useQuery(grantsQuery(boundary));
  const failed = connection.error ?? template.error;
  return (
    <Panel title="Permissions asked for">
      {failed ? (
        <ErrorState error={failed} what="The role's template" />
      ) : !template.data ? (
        <WaitingPart lines={5} />
      ) : (
        <>
          <p className="rf-about">
            <Compared digest={digest} shown={template.data.policy_digest} grants={grants.data ?? []} />
          </p>
          <Statements statements={statementsOf(template.data.template)} />
        </>
      )}
    </Panel>
  );
}

function Compared({ digest, shown, grants }: { digest: string | null; shown: string; grants: GrantOut[] }) {
  if (digest && digest !== shown) {
    return <>The template has changed since the request was made: the digest asked for is no longer what it says. Deny it and let it be asked again.</>;
  }
  const before = grants.find((g) => g.activated_at !== null);
  if (!before) return <>The first access to this boundary: there is no earlier grant to compare with.</>;
  return before.policy_digest === shown ? (
    <>
      The same permissions as grant g{before.number}
      {before.decided_by ? `, approved by ${before.decided_by.display}` : ""}: nothing was added or
      removed.
    </>
  ) : (
    <>Changed since grant g{before.number}, which had another policy.</>
  );
}

function Statements({ statements }: { statements: Statement[] }) {
  const [wanted, setWanted] = useState("");
  const allowing = statements.filter((s) => s.effect === "Allow");
  const actions = allowing.reduce((n, s) => n + s.actions.length, 0);
  const needle = wanted.trim().toLowerCase();
  const shown = needle
    ? statements.filter((s) => [s.sid, ...s.actions, ...s.resources].some((t) => t.toLowerCase().includes(needle)))
    : statements;
  return (
    <>
      <div className="rf-row">
        <p>
          <strong>{actions}</strong> actions allowed by {allowing.length} statements, all ending with
          the grant; {statements.length - allowing.length} statements deny.
        </p>
        <span className="rf-grow" />
        <input
          type="search"
          className="rf-search"
          placeholder="Find an action or resource"
          aria-label="Find an action or resource"
          value={wanted}
          onChange={(event) => setWanted(event.target.value)}
        />
      </div>
      <ul className="rf-statements">
        {shown.map((s) => (
          <li key={s.key}>
            <details>
              <summary>
                <StateLabel state={s.effect} />
                <span className="rf-strong">{s.sid}</span>
                <span className="rf-muted">
                  {s.actions.length} {s.actions.length === 1 ? "action" : "actions"}
                </span>
              </summary>
              <div className="rf-statement">
                <div>
                  <h3>Actions</h3>
                  <ul>{s.actions.map((a) => <li key={a}><code>{a}</code></li>)}</ul>
                </div>
                <div>
                  <h3>On</h3>
                  <ul>{s.resources.map((r) => <li key={r}><code>{r}</code></li>)}</ul>
                  {s.conditions.length > 0 && (
                    <>
                      <h3>Only if</h3>
                      <ul>{s.conditions.map((c) => <li key={c}><code>{c}</code></li>)}</ul>
                    </>
                  )}
                </div>
              </div>
            </details>
          </li>
        ))}
        {shown.length === 0 && <li className="rf-muted">No statement has “{wanted}”.</li>}
      </ul>
    </>
  );
}
