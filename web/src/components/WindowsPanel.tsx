/** When runs may change a boundary: its windows, whether one is open, and overrides. */
import { Button } from "@patternfly/react-core/dist/dynamic/components/Button";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { can } from "../api/can";
import { api, unwrap } from "../api/client";
import { windowsQuery } from "../api/queries";
import type { BoundaryOut, Window, WindowsOut } from "../api/schema";
import { Ask } from "./Ask";
import { ErrorState } from "./ErrorState";
import { Panel } from "./Panel";
import { EditWindows } from "./EditWindows";
import { Ago, Countdown, duration, local, utc } from "./Time";
import { WaitingPart } from "./Waiting";

const DAYS: Record<Window["days"][number], string> = {
  mon: "Monday", tue: "Tuesday", wed: "Wednesday", thu: "Thursday", fri: "Friday", sat: "Saturday", sun: "Sunday",
};

export function WindowsPanel({ boundary }: { boundary: BoundaryOut }) {
  const windows = useQuery(windowsQuery(boundary.name));
  const [isEditing, setEditing] = useState(false);
  return (
    <Panel title="Maintenance windows">
      {windows.error ? (
        <ErrorState error={windows.error} what="The windows" onRetry={() => void windows.refetch()} />
      ) : !windows.data ? (
        <WaitingPart />
      ) : (
        <>
          <Standing found={windows.data} />
          {windows.data.windows.length > 0 && (
            <ul className="rf-list">
              {windows.data.windows.map((w, at) => (
                <li key={at}>{inWords(w)}</li>
              ))}
            </ul>
          )}
          <Requested found={windows.data} />
          <div className="rf-verify">
            {can.setWindows(boundary) && (
              <Button variant="secondary" onClick={() => setEditing(true)}>
                {windows.data.windows.length > 0 ? "Change the windows" : "Set windows"}
              </Button>
            )}
            {!windows.data.is_open && <AskOverride boundary={boundary} />}
          </div>
          {isEditing && <EditWindows boundary={boundary} windows={windows.data.windows} onClose={() => setEditing(false)} />}
        </>
      )}
    </Panel>
  );
}

/** `Saturday, Sunday from 22:00 for 4 h (Europe/Berlin)` */
export function inWords(w: Window): string {
  return `${w.days.map((d) => DAYS[d]).join(", ")} from ${w.starts} for ${duration(w.minutes * 60)} (${w.zone})`;
}

function Standing({ found }: { found: WindowsOut }) {
  const { windows, is_open, until, override } = found;
  if (windows.length === 0) {
    return <p className="rf-muted">None: runs may change this boundary at any time.</p>;
  }
  if (override) {
    return (
      <p>
        <strong>Open by an override</strong> until {override.ends_at && <InZones at={override.ends_at} windows={windows} />}:{" "}
        {override.reason}. Asked for by {override.requested_by_name}, approved by {override.approved_by_name}.
      </p>
    );
  }
  return (
    <p>
      <strong>{is_open ? "Open" : "Closed"}</strong>
      {until && (
        <>
          {is_open ? ", closes " : ", opens next "}
          <InZones at={until} windows={windows} /> (in <Countdown until={until} />)
        </>
      )}
    </p>
  );
}

/** A moment in the reader's zone, and in those of the windows where they tell another time. */
export function InZones({ at, windows }: { at: string; windows: Window[] }) {
  const here = local(at);
  const there = [...new Set(windows.map((w) => w.zone))]
    .map((zone) => [zone, local(at, zone)] as const)
    .filter(([, told]) => told !== here);
  return (
    <time dateTime={at} title={utc(at)}>
      {here}
      {there.map(([zone, told]) => ` = ${told} in ${zone}`)}
    </time>
  );
}

function Requested({ found }: { found: WindowsOut }) {
  if (found.requested.length === 0) return null;
  return (
    <ul className="rf-list">
      {found.requested.map((o) => (
        <li key={o.id}>
          <Link to="/approvals/$kind/$id" params={{ kind: "override", id: o.id }}>
            Override of {duration(o.minutes * 60)} waits for approval
          </Link>
          <p className="rf-muted">
            {o.reason} · asked by {o.requested_by_name} · <Ago at={o.requested_at} />
          </p>
        </li>
      ))}
    </ul>
  );
}

const MINUTES = [30, 60, 90, 120, 240, 480, 1440];

export function AskOverride({ boundary }: { boundary: BoundaryOut }) {
  const [isAsking, setAsking] = useState(false);
  const [minutes, setMinutes] = useState(60);
  const client = useQueryClient();
  const ask = useMutation({
    mutationFn: (reason: string) =>
      unwrap(
        api.POST("/v1/boundaries/{boundary}/window-overrides", {
          params: { path: { boundary: boundary.name } },
          body: { reason, minutes },
        }),
      ),
    onSuccess: async () => {
      setAsking(false);
      await client.invalidateQueries({ queryKey: windowsQuery(boundary.name).queryKey });
      await client.invalidateQueries({ queryKey: ["approvals"] });
    },
  });
  if (!can.requestOverride(boundary)) return null;
  return (
    <>
      <Button variant="secondary" onClick={() => setAsking(true)}>
        Ask for an override
      </Button>
      {isAsking && (
        <Ask
          title="Change the boundary outside its windows?"
          confirm="Ask for it"
          reasonMinimum={3}
          reasonLabel="Why it cannot wait"
          reasonHint="The approver decides on it, and it is kept."
          isBusy={ask.isPending}
          error={ask.error}
          onConfirm={(reason) => ask.mutate(reason)}
          onClose={() => {
            setAsking(false);
            ask.reset();
          }}
        >
          <p className="rf-ask-text">
            It begins when somebody else approves it, and ends by itself. One that nobody approves
            within a day is gone.
          </p>
          <label className="rf-filter rf-ask-text">
            For how long, from the approval on
            <select value={minutes} onChange={(event) => setMinutes(Number(event.target.value))}>
              {MINUTES.map((m) => (
                <option key={m} value={m}>
                  {duration(m * 60)}
                </option>
              ))}
            </select>
          </label>
        </Ask>
      )}
    </>
  );
}

/** On the page of a run that a window holds back: until when, and how not to wait. */
export function HeldByWindow({ boundary, until }: { boundary: BoundaryOut; until: string }) {
  const windows = useQuery(windowsQuery(boundary.name));
  const found = windows.data;
  return (
    <>
      <p>
        It goes on by itself <InZones at={until} windows={found?.windows ?? []} />, when the{" "}
        <Link to="/boundaries/$boundary" params={{ boundary: boundary.name }}>
          boundary's maintenance window
        </Link>{" "}
        opens.
      </p>
      {found && found.requested.length > 0 ? <Requested found={found} /> : <AskOverride boundary={boundary} />}
    </>
  );
}


