import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { isSignedOut } from "../api/errors";
import { runQuery } from "../api/queries";
import { followRun, type Connection, type RunEvent } from "../api/stream";
import { signedOut } from "../queryClient";

const REFRESH_MS = 400;
/** Events come in bursts; the run itself is asked for at most this often. */

/** Follow a run live: its events so far, and how the connection stands. */
export function useRunEvents(runId: string) {
  const client = useQueryClient();
  const [events, setEvents] = useState<RunEvent[]>([]);
  const [connection, setConnection] = useState<Connection>("connecting");
  const [error, setError] = useState<unknown>(null);
  useEffect(() => {
    const abort = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    setEvents([]);
    setError(null);
    const refresh = () => {
      timer ??= setTimeout(() => {
        timer = undefined;
        void client.invalidateQueries({ queryKey: runQuery(runId).queryKey });
      }, REFRESH_MS);
    };
    followRun({
      runId,
      after: 0,
      signal: abort.signal,
      onConnection: setConnection,
      onEvents: (fresh) => {
        setEvents((known) => [...known, ...fresh]);
        refresh();
      },
    }).catch((cause: unknown) => {
      if (isSignedOut(cause)) signedOut();
      setError(cause);
    });
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [client, runId]);
  return { events, connection, error };
}
