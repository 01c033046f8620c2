/** How far a run is: elapsed, what remains on the critical path, and whether the page is live. */
import type { RunOut } from "../api/schema";
import type { Connection } from "../api/stream";
import { useNow } from "../hooks/useNow";
import { duration, utc } from "./Time";

const LINKS: Record<Connection, string> = {
  connecting: "connecting",
  live: "live",
  waiting: "connection lost, trying again",
  over: "ended",
};

export function RunClock({ run, asOf, connection }: { run: RunOut; asOf: number; connection: Connection }) {
  const now = useNow();
  const began = run.started_at ?? run.created_at;
  const until = run.finished_at ? Date.parse(run.finished_at) : now;
  const done = run.steps.filter((s) => ["succeeded", "skipped"].includes(s.state)).length;
  const isOver = run.finished_at !== null;
  // While it waits for somebody nothing becomes less, and no end can be told.
  const isMoving = !isOver && ["queued", "planning", "running"].includes(run.state);
  const passed = isMoving ? (now - asOf) / 1000 : 0;
  const remaining = Math.max(0, run.critical_path.remaining_seconds - passed);
  const end = new Date(Math.max(now, asOf + run.critical_path.remaining_seconds * 1000));
  return (
    <dl className="rf-clock">
      <div>
        <dt>Elapsed</dt>
        <dd className="rf-figures">{duration(Math.max(0, (until - Date.parse(began)) / 1000))}</dd>
      </div>
      <div>
        <dt>Steps</dt>
        <dd className="rf-figures">
          {done} of {run.steps.length}
        </dd>
      </div>
      {!isOver && (
        <div>
          <dt>Remaining, estimated</dt>
          <dd className="rf-figures">{duration(remaining)}</dd>
        </div>
      )}
      {isMoving && (
        <div>
          <dt>Done at, estimated</dt>
          <dd className="rf-figures">
            <time dateTime={end.toISOString()} title={utc(end.toISOString())}>
              {end.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" })}
            </time>
          </dd>
        </div>
      )}
      <div>
        <dt>Critical path</dt>
        <dd className="rf-figures">{duration(run.critical_path.seconds)}</dd>
      </div>
      <div>
        <dt>This page</dt>
        <dd>
          <span className={`rf-link rf-link-${connection}`} role="status">
            {LINKS[connection]}
          </span>
        </dd>
      </div>
    </dl>
  );
}
