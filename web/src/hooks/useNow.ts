import { useSyncExternalStore } from "react";

/** One clock for all countdowns of a page: a tick per second, only while somebody looks. */
const listeners = new Set<() => void>();
let now = Date.now();
let timer: ReturnType<typeof setInterval> | undefined;

function subscribe(listener: () => void) {
  listeners.add(listener);
  if (timer === undefined) {
    now = Date.now();
    timer = setInterval(() => {
      now = Date.now();
      for (const notify of listeners) notify();
    }, 1000);
  }
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) {
      clearInterval(timer);
      timer = undefined;
    }
  };
}

/** Return the time in milliseconds, renewed every second. */
export function useNow(): number {
  return useSyncExternalStore(subscribe, () => now);
}
