/** What a person may ask of a run now, each with what it leads to; the server says what may be. */
import { Button } from "@patternfly/react-core/dist/dynamic/components/Button";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useId, useState, type ReactNode } from "react";
import { can } from "../api/can";
import { api, unwrap } from "../api/client";
import { runQuery, type Me } from "../api/queries";
import type { BoundaryOut, RunOut, StepOut } from "../api/schema";
import { Ask } from "./Ask";
import { ErrorAlert } from "./ErrorState";

interface Props {
  run: RunOut;
  boundary: BoundaryOut;
  me: Me;
}

type Verb = "pause" | "retry" | "skip" | "cancel";

/** What the dialogs ask beside a reason. */
interface Choice {
  reason: string;
  step: string;
  keep: boolean;
}

export function RunActions({ run, boundary, me }: Props) {
  const [asking, setAsking] = useState<Verb | null>(null);
  const client = useQueryClient();
  const path = { params: { path: { run_id: run.id } } };
  const renew = async () => {
    setAsking(null);
    await client.invalidateQueries({ queryKey: runQuery(run.id).queryKey });
  };
  const resume = useMutation({
    mutationFn: () => unwrap(api.POST("/v1/runs/{run_id}/resume", path)),
    onSuccess: renew,
  });
  const ask = useMutation({
    mutationFn: ({ verb, choice }: { verb: Verb; choice: Choice }) => send(run.id, verb, choice),
    onSuccess: renew,
  });
  const open = (verb: Verb) => {
    ask.reset();
    setAsking(verb);
  };
  return (
    <>
      {can.approveRun(run, boundary, me) && (
        <Link className="rf-button" to="/approvals/$kind/$id" params={{ kind: "plan", id: run.id }}>
          Read the plan and decide
        </Link>
      )}
      {can.resumeRun(run, boundary) && (
        <Button isLoading={resume.isPending} isDisabled={resume.isPending} onClick={() => resume.mutate()}>
          {run.pause_requested && run.state !== "paused" ? "Do not pause" : "Resume"}
        </Button>
      )}
      {/* A paused run goes on by resuming it; a second button for the same would be a riddle. */}
      {can.retryRun(run, boundary) && run.state !== "paused" && <Button onClick={() => open("retry")}>Try again</Button>}
      {can.skipStep(run, boundary, me) && (
        <Button variant="secondary" onClick={() => open("skip")}>
          Skip a step
        </Button>
      )}
      {can.pauseRun(run, boundary) && (
        <Button variant="secondary" onClick={() => open("pause")}>
          Pause
        </Button>
      )}
      {can.cancelRun(run, boundary) && (
        <Button variant="secondary" isDanger onClick={() => open("cancel")}>
          Cancel
        </Button>
      )}
      {resume.error ? <ErrorAlert error={resume.error} /> : null}
      {asking && (
        <AskVerb
          key={asking}
          verb={asking}
          run={run}
          isBusy={ask.isPending}
          error={ask.error}
          onConfirm={(choice) => ask.mutate({ verb: asking, choice })}
          onClose={() => setAsking(null)}
        />
      )}
    </>
  );
}

function send(runId: string, verb: Verb, { reason, step, keep }: Choice): Promise<unknown> {
  const path = { params: { path: { run_id: runId } } };
  switch (verb) {
    case "pause":
      return unwrap(api.POST("/v1/runs/{run_id}/pause", { ...path, body: { reason } }));
    case "retry":
      return unwrap(api.POST("/v1/runs/{run_id}/retry", { ...path, body: { step: step || null } }));
    case "skip":
      return unwrap(api.POST("/v1/runs/{run_id}/skip", { ...path, body: { step, reason } }));
    case "cancel":
      return unwrap(api.POST("/v1/runs/{run_id}/cancel", { ...path, body: { keep } }));
  }
}

interface AskVerbProps {
  verb: Verb;
  run: RunOut;
  isBusy: boolean;
  error: unknown;
  onConfirm: (choice: Choice) => void;
  onClose: () => void;
}

const HINT = "Kept with the run; whoever looks at it reads it.";

function AskVerb({ verb, run, isBusy, error, onConfirm, onClose }: AskVerbProps) {
  const skippable = run.steps.filter((s) => s.skippable && s.state === "pending");
  const failed = run.steps.filter((s) => s.error_code !== null && (s.state === "failed" || s.state === "unwinding"));
  const [step, setStep] = useState(verb === "skip" ? (skippable[0]?.key ?? "") : "");
  const [keep, setKeep] = useState(false);
  const common = { isBusy, error, onClose, onConfirm: (reason: string) => onConfirm({ reason, step, keep }) };
  switch (verb) {
    case "pause":
      return (
        <Ask {...common} title="Pause this run?" confirm="Pause" reasonMinimum={3} reasonHint={HINT}>
          <p className="rf-ask-text">
            Steps that are under way end first; then nothing more begins. After ten minutes the run
            loses its access, and going on needs a new opening of the role.
          </p>
        </Ask>
      );
    case "retry":
      return (
        <Ask {...common} title="Try again?" confirm="Try again">
          <p className="rf-ask-text">
            The run goes on from where it stands. What exists is looked up before anything is made:
            nothing is made twice.
          </p>
          {failed.length > 0 && (
            <Steps label="Which step" steps={failed} value={step} onChange={setStep} all="All that failed" />
          )}
        </Ask>
      );
    case "skip":
      return (
        <Ask {...common} title="Go on without a step?" confirm="Skip the step" reasonMinimum={3} reasonHint="Kept with the run and in its certificate.">
          <p className="rf-ask-text">
            You decide as the second person that the run goes on without it. It stands in the
            certificate; the run itself still waits until somebody lets it go on.
          </p>
          <Steps label="Which step" steps={skippable} value={step} onChange={setStep} />
        </Ask>
      );
    case "cancel":
      return (
        <Ask {...common} title="Cancel this run?" confirm={keep ? "Cancel and keep" : "Cancel and take back"} isDanger>
          <Choices legend="What becomes of what the run has made?">
            <Option name="cancel" isChosen={!keep} onChoose={() => setKeep(false)} label="Take it back">
              What was built is undone in reverse order, then access is closed and its end proven.
            </Option>
            <Option name="cancel" isChosen={keep} onChoose={() => setKeep(true)} label="Keep it">
              Everything stays as it is and goes on costing money. The install is partial, a later
              install goes on from there, and access is closed all the same.
            </Option>
          </Choices>
        </Ask>
      );
  }
}

function Choices({ legend, children }: { legend: string; children: ReactNode }) {
  return (
    <fieldset className="rf-choices">
      <legend>{legend}</legend>
      {children}
    </fieldset>
  );
}

function Option(props: { name: string; label: string; isChosen: boolean; onChoose: () => void; children: ReactNode }) {
  const id = useId();
  return (
    <div className="rf-option">
      <input
        type="radio"
        id={id}
        name={props.name}
        checked={props.isChosen}
        onChange={props.onChoose}
        aria-describedby={`${id}-means`}
      />
      <div>
        <label htmlFor={id}>{props.label}</label>
        <p className="rf-muted" id={`${id}-means`}>
          {props.children}
        </p>
      </div>
    </div>
  );
}

interface StepsProps {
  label: string;
  steps: StepOut[];
  value: string;
  onChange: (key: string) => void;
  all?: string;
}

function Steps({ label, steps, value, onChange, all }: StepsProps) {
  return (
    <label className="rf-filter rf-ask-text">
      {label}
      <select value={value} onChange={(event) => onChange(event.target.value)}>
        {all && <option value="">{all}</option>}
        {steps.map((s) => (
          <option key={s.key} value={s.key}>
            {s.title}
          </option>
        ))}
      </select>
    </label>
  );
}
