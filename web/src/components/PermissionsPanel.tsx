/** What a grant asks for, line by line, beside what was open last: by part of the role and service. */
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { permissionsQuery } from "../api/queries";
import type { CountsOut, LineOut, PermissionsOut } from "../api/schema";
import { CodeBox } from "./CodeBox";
import { ErrorState } from "./ErrorState";
import { Panel } from "./Panel";
import { PermissionTable, SIGNS } from "./PermissionTable";
import { Moment } from "./Time";
import { WaitingPart } from "./Waiting";

export function PermissionsPanel({ grant, title }: { grant: string; title: string }) {
  const found = useQuery(permissionsQuery(grant));
  return (
    <Panel title={title}>
      {found.error ? (
        <ErrorState error={found.error} what="What the grant asks for" onRetry={() => void found.refetch()} />
      ) : found.data ? (
        <Diff permissions={found.data} />
      ) : (
        <WaitingPart lines={5} />
      )}
    </Panel>
  );
}

function Diff({ permissions }: { permissions: PermissionsOut }) {
  const isFirst = !permissions.compared_with?.kept;
  const [wanted, setWanted] = useState("");
  const [isWhole, setWhole] = useState(isFirst);
  const needle = wanted.trim().toLowerCase();
  const shown = permissions.lines.filter((line) =>
    needle ? has(line, needle) : isWhole || line.status !== "unchanged",
  );
  return (
    <>
      <p className="rf-about">
        <Compared permissions={permissions} />
      </p>
      <Counts counts={permissions.counts} />
      <div className="rf-row">
        {!isFirst && (
          <label>
            <input type="checkbox" checked={isWhole} onChange={(event) => setWhole(event.target.checked)} />{" "}
            Show what is unchanged too
          </label>
        )}
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
      {needle && shown.length === 0 && <p className="rf-muted">Nothing has “{wanted}”.</p>}
      {permissions.parts.map((part) => {
        const lines = shown.filter((line) => line.part === part.name);
        return (
          lines.length > 0 && (
            <section key={part.name} className="rf-part">
              <h3>{part.title}</h3>
              {services(lines).map(([service, listed]) => (
                <Group key={service} name={service} lines={listed} isOpen={Boolean(needle) || !isFirst} />
              ))}
            </section>
          )
        );
      })}
      {!isFirst && <Settings permissions={permissions} />}
      <Documents permissions={permissions} />
    </>
  );
}

function has(line: LineOut, needle: string): boolean {
  const uses = [...line.before, ...line.after];
  const texts = [...line.actions, ...uses.flatMap((u) => [...u.actions, ...u.resources, ...u.principals])];
  return texts.some((text) => text.toLowerCase().includes(needle));
}

function Compared({ permissions }: { permissions: PermissionsOut }) {
  const base = permissions.compared_with;
  if (!base) {
    return <>The first access to this boundary: everything below is new, there is no earlier grant to compare with.</>;
  }
  const who = base.decided_by ? `, approved by ${base.decided_by.display}` : "";
  if (!base.kept) {
    return <>Grant g{base.number} was open before, but only its digest was kept, not its statements: everything below is shown as new.</>;
  }
  const { unchanged, ...differences } = permissions.counts;
  const isSame = Object.values(differences).every((n) => n === 0);
  return (
    <>
      {isSame ? `The same ${unchanged} permissions as grant` : "Compared with grant"} g{base.number}, the last one that was
      open (since <Moment at={base.activated_at} />{who}){isSame ? ": nothing was added or removed." : "."}
    </>
  );
}

/** Signs and words, never a colour alone. */
function Counts({ counts }: { counts: CountsOut }) {
  const kinds = Object.keys(SIGNS) as (keyof typeof SIGNS)[];
  return (
    <ul className="rf-tally" aria-label="Differences">
      {kinds
        .filter((kind) => counts[kind] > 0)
        .map((kind) => (
          <li key={kind} className={`rf-is-${kind}`}>
            <span className="rf-sign" aria-hidden="true">{SIGNS[kind]}</span> <strong>{counts[kind]}</strong> {kind}
          </li>
        ))}
      {counts.settings > 0 && counts.unchanged > 0 && (
        <li>
          <strong>{counts.settings}</strong> other settings changed
        </li>
      )}
      {counts.unchanged > 0 && (
        <li>
          <strong>{counts.more_power}</strong> let the role do more than before
        </li>
      )}
    </ul>
  );
}

function services(lines: LineOut[]): [string, LineOut[]][] {
  const found = new Map<string, LineOut[]>();
  for (const line of lines) {
    const name = line.effect === "Deny" ? "Denied" : line.service;
    found.set(name, [...(found.get(name) ?? []), line]);
  }
  return [...found].sort(([a], [b]) => Number(a === "Denied") - Number(b === "Denied") || a.localeCompare(b, "en"));
}

function Group({ name, lines, isOpen }: { name: string; lines: LineOut[]; isOpen: boolean }) {
  const [chosen, setChosen] = useState<boolean | null>(null);
  const open = chosen ?? isOpen;
  const levels = new Map<string, number>();
  for (const line of lines) for (const level of line.levels) levels.set(level, (levels.get(level) ?? 0) + 1);
  const unexplained = lines.filter(lacksEvidence).length;
  const words = [
    `${lines.length} ${lines.length === 1 ? "line" : "lines"}`,
    ...(name === "Denied" ? [] : [...levels].map(([level, n]) => `${n} ${level}`)),
    ...(unexplained ? [`${unexplained} without evidence`] : []),
  ];
  return (
    <>
      <h4 className="rf-group">
        <button type="button" aria-expanded={open} onClick={() => setChosen(!open)}>
          <span aria-hidden="true">{open ? "▾" : "▸"}</span> {name}
        </button>{" "}
        <span className="rf-muted">{words.join(" · ")}</span>
      </h4>
      {open && <PermissionTable lines={lines} label={name} />}
    </>
  );
}

/** Only the role's own allowed actions are called by somebody; the other parts narrow or close. */
export function lacksEvidence(line: LineOut): boolean {
  return line.part === "permissions" && line.effect === "Allow" && line.evidence.length === 0;
}

function Settings({ permissions }: { permissions: PermissionsOut }) {
  if (permissions.settings.length === 0) return null;
  return (
    <section className="rf-part">
      <h3>Other settings of the template</h3>
      <ul className="rf-diff">
        {permissions.settings.map((s) => (
          <li key={s.path}>
            <code>{s.path}</code>: {s.before === null ? "not set" : <del><code>{s.before}</code></del>} →{" "}
            {s.after === null ? "not set" : <ins><code>{s.after}</code></ins>}
          </li>
        ))}
      </ul>
    </section>
  );
}

function Documents({ permissions }: { permissions: PermissionsOut }) {
  return (
    <section className="rf-part">
      <h3>The policies as AWS gets them</h3>
      {permissions.parts.map((part) => (
        <details key={part.name} className="rf-raw">
          <summary>
            {part.title} <span className="rf-muted">JSON</span>
          </summary>
          {part.policies.map((policy) => (
            <CodeBox key={policy.name} text={JSON.stringify(policy.document, null, 2)} label={`${part.title}: ${policy.name}`} />
          ))}
        </details>
      ))}
    </section>
  );
}
