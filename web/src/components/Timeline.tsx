/** The step graph: dependencies as rails, when each step ran, and its time against its budget. */
import { useState } from "react";
import type { RunOut, StepOut } from "../api/schema";
import type { RunEvent } from "../api/stream";
import { useNow } from "../hooks/useNow";
import { rails, ROW } from "./rails";
import { EventLine } from "./EventLog";
import { words } from "./States";
import { duration } from "./Time";

interface Props {
  run: RunOut;
  asOf: number;
  events: RunEvent[];
}

const LANE = 18;

export function Timeline({ run, asOf, events }: Props) {
  const now = useNow();
  const began = Date.parse(run.started_at ?? run.created_at);
  const ends = Math.max(
    began + 1000,
    run.finished_at ? Date.parse(run.finished_at) : Math.max(now, asOf) + run.critical_path.remaining_seconds * 1000,
  );
  const graph = rails(run.steps);
  return (
    <>
      <p className="rf-legend">
        <span className="rf-legend-critical">critical path</span>
        <span className="rf-legend-beside">beside it</span>
        <span className="rf-legend-budget">share of the step's budget</span>
      </p>
      <ol className="rf-timeline">
        {run.steps.map((step, index) => (
          <Step
            key={step.key}
            step={step}
            elapsed={elapsedOf(step, asOf, now)}
            began={began}
            ends={ends}
            events={events.filter((e) => e.step === step.key)}
            titles={titlesOf(run.steps)}
            rail={
              <svg
                className="rf-rail"
                width={graph.lanes * LANE + 8}
                height={ROW}
                viewBox={`0 0 ${graph.lanes * LANE + 8} ${ROW}`}
                aria-hidden="true"
              >
                {graph.rows[index]!.edges.map((edge) => (
                  <path key={edge.key} d={edgePath(edge)} className={edge.critical ? "rf-edge rf-edge-critical" : "rf-edge"} />
                ))}
                <circle
                  cx={x(graph.rows[index]!.lane)}
                  cy={ROW / 2}
                  r={step.on_critical_path ? 6 : 5}
                  className={`rf-dot rf-dot-${step.state}`}
                />
              </svg>
            }
          />
        ))}
      </ol>
    </>
  );
}

const x = (lane: number) => lane * LANE + 12;

function edgePath({ from, to, half }: { from: number; to: number; half: "in" | "out" | "through" }): string {
  const middle = ROW / 2;
  if (half === "through") return `M${x(from)} 0 V${ROW}`;
  const [top, bottom] = half === "in" ? [0, middle] : [middle, ROW];
  if (from === to) return `M${x(from)} ${top} V${bottom}`;
  const mid = (top + bottom) / 2;
  return `M${x(from)} ${top} C${x(from)} ${mid} ${x(to)} ${mid} ${x(to)} ${bottom}`;
}

function titlesOf(steps: StepOut[]): Record<string, string> {
  return Object.fromEntries(steps.map((s) => [s.key, s.title]));
}

/** The server's measure at `asOf`, going on by our clock while the step runs. */
function elapsedOf(step: StepOut, asOf: number, now: number): number | null {
  if (step.elapsed_seconds === null) return null;
  const isOn = step.state === "running" || step.state === "unwinding";
  return step.elapsed_seconds + (isOn ? Math.max(0, now - asOf) / 1000 : 0);
}

interface StepProps {
  step: StepOut;
  elapsed: number | null;
  began: number;
  ends: number;
  events: RunEvent[];
  titles: Record<string, string>;
  rail: React.ReactNode;
}

function Step({ step, elapsed, began, ends, events, titles, rail }: StepProps) {
  const [isOpen, setOpen] = useState(false);
  const id = `step-${step.key}`;
  const share = elapsed === null ? 0 : elapsed / step.budget_seconds;
  return (
    <li className={`rf-step rf-step-${step.state} ${step.on_critical_path ? "rf-step-critical" : ""}`}>
      <div className="rf-step-row">
        {rail}
        <button type="button" className="rf-step-name" aria-expanded={isOpen} aria-controls={id} onClick={() => setOpen(!isOpen)}>
          <span className="rf-step-title">{step.title}</span>
          <span className="rf-step-state">
            {step.state === "succeeded" ? step.summary || "done" : words(step.state)}
            {step.attempt > 1 ? `, attempt ${step.attempt}` : ""}
            {step.on_critical_path && <span className="pf-v6-screen-reader">, on the critical path</span>}
          </span>
        </button>
        <Bar step={step} elapsed={elapsed} began={began} ends={ends} />
        <div className="rf-budget">
          <span className="rf-figures">
            {elapsed === null ? "–" : duration(elapsed)}
            {step.state === "running" && <span className="rf-muted"> of {duration(step.budget_seconds)}</span>}
          </span>
          <meter
            min={0}
            max={1}
            high={0.999}
            optimum={0}
            value={Math.min(1, share)}
            aria-label={`${step.title}: time against budget`}
            title={`budget ${duration(step.budget_seconds)}, estimate ${duration(step.estimate_seconds)}`}
          />
        </div>
      </div>
      {isOpen && (
        <div className="rf-step-detail" id={id}>
          <p className="rf-muted">
            {step.after.length > 0 ? `After ${step.after.map((k) => titles[k] ?? k).join(", ")}. ` : "First step. "}
            Budget {duration(step.budget_seconds)}, estimate {duration(step.estimate_seconds)}
            {elapsed !== null && `, took ${duration(elapsed)}${step.over_budget ? ": over budget" : ""}`}.
          </p>
          {step.error_message && <p className="rf-step-error">{step.error_message}</p>}
          {events.length > 0 ? (
            <ol className="rf-events">
              {events.slice(-60).map((event) => (
                <EventLine key={event.seq} event={event} withStep={false} />
              ))}
            </ol>
          ) : (
            <p className="rf-muted">Nothing has happened in it yet.</p>
          )}
        </div>
      )}
    </li>
  );
}

/** Where the step lies in the run's time; a pending step shows nothing rather than a guess. */
function Bar({ step, elapsed, began, ends }: { step: StepOut; elapsed: number | null; began: number; ends: number }) {
  if (!step.started_at || elapsed === null) return <div className="rf-when" aria-hidden="true" />;
  const all = (ends - began) / 1000;
  const left = ((Date.parse(step.started_at) - began) / 1000 / all) * 100;
  const width = Math.max(0.6, (elapsed / all) * 100);
  return (
    <div className="rf-when" aria-hidden="true">
      <span
        className={step.over_budget ? "rf-bar rf-bar-over" : "rf-bar"}
        style={{ left: `${Math.min(99, Math.max(0, left))}%`, width: `${Math.min(width, 100 - left)}%` }}
      />
    </div>
  );
}
