/** Times: every one in UTC on hover, since an auditor and an architect may sit on two continents. */
import { useNow } from "../hooks/useNow";

const MINUTE = 60;
const HOUR = 3600;
const DAY = 86_400;

/** 4.2 s, 3 min 5 s, 2 h 10 min, 3 d 4 h */
export function duration(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < MINUTE) return `${whole} s`;
  if (whole < HOUR) return parts(whole, MINUTE, "min", 1, "s");
  if (whole < DAY) return parts(whole, HOUR, "h", MINUTE, "min");
  return parts(whole, DAY, "d", HOUR, "h");
}

function parts(seconds: number, large: number, a: string, small: number, b: string): string {
  const rest = Math.floor((seconds % large) / small);
  return `${Math.floor(seconds / large)} ${a}${rest ? ` ${rest} ${b}` : ""}`;
}

export function utc(value: string): string {
  return `${new Date(value).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

/** "3 min ago", renewed while it is looked at. */
export function Ago({ at }: { at: string }) {
  const seconds = (useNow() - Date.parse(at)) / 1000;
  const text = seconds < 45 ? "just now" : `${rough(seconds)} ago`;
  return (
    <time dateTime={at} title={utc(at)}>
      {text}
    </time>
  );
}

function rough(seconds: number): string {
  if (seconds < HOUR) return `${Math.round(seconds / MINUTE)} min`;
  if (seconds < DAY) return `${Math.round(seconds / HOUR)} h`;
  return `${Math.round(seconds / DAY)} d`;
}

/** Time left until a moment, counted down; says when it is over. */
export function Countdown({ until }: { until: string }) {
  const seconds = (Date.parse(until) - useNow()) / 1000;
  if (seconds <= 0) return <span title={utc(until)}>over</span>;
  return (
    <time dateTime={until} title={`until ${utc(until)}`} className="rf-figures">
      {clock(seconds)}
    </time>
  );
}

function clock(seconds: number): string {
  const whole = Math.floor(seconds);
  const two = (n: number) => String(n).padStart(2, "0");
  return `${Math.floor(whole / HOUR)}:${two(Math.floor((whole % HOUR) / MINUTE))}:${two(whole % MINUTE)}`;
}

/** A moment as it is told where somebody lives: `Sat, 28 Nov, 22:00 GMT+1`. */
export function local(value: string, zone?: string): string {
  return new Intl.DateTimeFormat("en-GB", {
    weekday: "short", day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit",
    timeZone: zone, timeZoneName: "short",
  }).format(new Date(value));
}

export function Moment({ at }: { at: string }) {
  return (
    <time dateTime={at} className="rf-figures">
      {utc(at)}
    </time>
  );
}
