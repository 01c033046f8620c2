/** A run's events as they come, newest last; every line says when, where and what. */
import { useState } from "react";
import type { Connection, RunEvent } from "../api/stream";
import { EmptyHint } from "./EmptyHint";
import { Panel } from "./Panel";
import { words } from "./States";

const KINDS: [value: string, label: string][] = [
  ["", "Everything"],
  ["state", "States"],
  ["resource", "Resources"],
  ["log", "Log"],
];
const MOST = 500;

export function EventLog({ events, connection }: { events: RunEvent[]; connection: Connection }) {
  const [kind, setKind] = useState("");
  const wanted = events.filter((e) => !kind || e.kind.includes(kind));
  const shown = wanted.slice(-MOST);
  return (
    <Panel
      title="Events"
      aside={
        <label className="rf-filter">
          <span className="pf-v6-screen-reader">Show</span>
          <select value={kind} onChange={(event) => setKind(event.target.value)}>
            {KINDS.map(([value, label]) => (
              <option key={value} value={value}>
                {label}
              </option>
            ))}
          </select>
        </label>
      }
    >
      {shown.length === 0 ? (
        <EmptyHint title={connection === "over" || connection === "live" ? "No event of this kind." : "Waiting for the first event."} />
      ) : (
        <>
          {wanted.length > MOST && <p className="rf-muted">The last {MOST} of {wanted.length}.</p>}
          <ol className="rf-events" aria-live="off">
            {shown.map((event) => (
              <EventLine key={event.seq} event={event} withStep />
            ))}
          </ol>
        </>
      )}
    </Panel>
  );
}

export function EventLine({ event, withStep }: { event: RunEvent; withStep: boolean }) {
  return (
    <li className={`rf-event rf-event-${event.state ?? event.kind}`}>
      <time dateTime={event.at} title={event.at}>
        {event.at.slice(11, 19)}
      </time>
      {withStep && <span className="rf-event-step">{event.step ?? "run"}</span>}
      <span>{describe(event)}</span>
    </li>
  );
}

/** One line in words, by docs/reference/run-events.md; unknown fields are shown, never dropped. */
export function describe(event: RunEvent): string {
  const d = event.detail as Record<string, string | number | undefined>;
  switch (event.kind) {
    case "run.state":
      return [words(event.state ?? ""), d.reason, d.approved_by && `approved by ${d.approved_by}`].filter(Boolean).join(": ");
    case "step.state":
      return [
        words(event.state ?? ""),
        d.attempt !== undefined && Number(d.attempt) > 1 && `attempt ${d.attempt}`,
        d.seconds !== undefined && `after ${Number(d.seconds).toFixed(1)} s`,
        d.message ?? d.reason,
      ]
        .filter(Boolean)
        .join(" · ");
    case "resource":
      return [event.state, d.op, d.type ?? d.kind, d.name ?? lastOf(d.urn), d.message ?? d.reason].filter(Boolean).join(" ");
    case "step.progress":
      if (d.check) return `${d.check}: ${d.state}${d.message ? `, ${d.message}` : ""}`;
      if (d.total_bytes) return `${d.artifact}: ${d.bytes} of ${d.total_bytes} bytes`;
      return String(d.message ?? JSON.stringify(event.detail));
    default:
      return String(d.message ?? JSON.stringify(event.detail));
  }
}

function lastOf(urn: unknown): string | undefined {
  return typeof urn === "string" ? urn.split("::").at(-1) : undefined;
}
