/**
 * A run's events as they happen (docs/reference/run-events.md). Read by `fetch` and not by
 * EventSource, which can neither name the organization nor show why the server refused. A stream
 * that breaks is taken up after the last event seen: nothing is missed, nothing comes twice.
 */
import { ApiError, bodyOf, carriedHeaders } from "./client";

export interface RunEvent {
  run_id: string;
  seq: number;
  at: string;
  kind: "run.state" | "step.state" | "step.progress" | "resource" | "log";
  step: string | null;
  state: string | null;
  detail: Record<string, unknown>;
}

export type Connection = "connecting" | "live" | "waiting" | "over";

interface Follow {
  runId: string;
  after: number;
  signal: AbortSignal;
  onEvents: (events: RunEvent[]) => void;
  onConnection: (state: Connection) => void;
}

/** controlplane/core/run_engine/decide.py `FINAL` */
const FINAL = ["succeeded", "failed", "unwound", "cancelled"];
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;
const SILENCE_MS = 40_000;

/**
 * One connection. It is given up when the network goes, and when nothing came for a while: the
 * server says something every 15 s, so silence means that the other end is gone without a word.
 */
class Attempt {
  private readonly controller = new AbortController();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly giveUp = () => this.controller.abort();
  readonly signal: AbortSignal;

  constructor(follower: AbortSignal) {
    this.signal = AbortSignal.any([follower, this.controller.signal]);
    window.addEventListener("offline", this.giveUp);
    this.heard();
  }

  heard() {
    clearTimeout(this.timer);
    this.timer = setTimeout(this.giveUp, SILENCE_MS);
  }

  end() {
    clearTimeout(this.timer);
    window.removeEventListener("offline", this.giveUp);
    this.controller.abort();
  }
}

/** Wait, but not longer than until the network is said to be back. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      window.removeEventListener("online", done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    window.addEventListener("online", done);
    signal.addEventListener("abort", done);
  });
}

/** Follow a run until it has ended or the signal aborts. Throws ApiError when the server refuses. */
export async function followRun({ runId, after, signal, onEvents, onConnection }: Follow) {
  let seen = after;
  let state: string | null = null;
  let wait = FIRST_WAIT_MS;
  while (!signal.aborted) {
    const attempt = new Attempt(signal);
    try {
      onConnection("connecting");
      for await (const events of read(runId, seen, attempt, () => onConnection("live"))) {
        wait = FIRST_WAIT_MS;
        const fresh = events.filter((event) => event.seq > seen);
        if (fresh.length === 0) continue;
        seen = fresh[fresh.length - 1]!.seq;
        state = fresh.findLast((event) => event.kind === "run.state")?.state ?? state;
        onEvents(fresh);
      }
      // An end without an error is not the run's end: a proxy or a stopping server closes just so.
      if (state !== null && FINAL.includes(state)) return onConnection("over");
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiError && error.status < 500) throw error;
    } finally {
      attempt.end();
    }
    onConnection("waiting");
    await pause(wait, signal);
    wait = Math.min(wait * 2, LONGEST_WAIT_MS);
  }
}

async function* read(
  runId: string,
  seen: number,
  attempt: Attempt,
  onOpen: () => void,
): AsyncGenerator<RunEvent[]> {
  const response = await fetch(`/v1/runs/${encodeURIComponent(runId)}/events`, {
    credentials: "same-origin",
    signal: attempt.signal,
    headers: {
      ...carriedHeaders("GET"),
      Accept: "text/event-stream",
      "Last-Event-ID": String(seen),
    },
  });
  if (!response.ok || response.body === null) {
    throw new ApiError(response.status, bodyOf(await response.json().catch(() => null)));
  }
  onOpen();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    attempt.heard();
    const blocks = (rest + value.replaceAll("\r\n", "\n")).split("\n\n");
    rest = blocks.pop() ?? "";
    const events = blocks.map(parse).filter((event) => event !== null);
    if (events.length > 0) yield events;
  }
}

/** Return the event of one block; null for a comment, which only keeps the connection open. */
function parse(block: string): RunEvent | null {
  const data = block
    .split("\n")
    .filter((line) => line.startsWith("data:"))
    .map((line) => line.slice(5).trimStart())
    .join("\n");
  return data ? (JSON.parse(data) as RunEvent) : null;
}
