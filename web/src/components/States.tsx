/** Words and colours for states, in one place. A colour never stands without its word. */
import { Label, type LabelProps } from "@patternfly/react-core/dist/dynamic/components/Label";

type Tone = "calm" | "good" | "busy" | "attention" | "bad" | "quiet";

const COLORS: Record<Tone, LabelProps["color"]> = {
  calm: "blue",
  good: "green",
  busy: "teal",
  attention: "orange",
  bad: "red",
  quiet: "grey",
};

const TONES: Record<string, Tone> = {
  // lifecycle
  requested: "busy", installing: "busy", updating: "busy", removing: "busy",
  installed: "good", partial: "attention", removed: "quiet",
  // health
  healthy: "good", degraded: "attention", down: "bad",
  // drift
  none: "good", found: "attention",
  // access: open is neither good nor bad, but everybody shall see it
  open: "attention", closing: "attention", closed: "good",
  // grants
  approved: "calm", active: "attention", expired: "quiet", revoked: "quiet", denied: "quiet",
  // runs and steps
  queued: "busy", planning: "busy", running: "busy", "awaiting-approval": "attention",
  "waiting-for-grant": "attention", paused: "attention", "needs-attention": "bad", stuck: "bad",
  unwinding: "attention", unwound: "bad", succeeded: "good", failed: "bad", cancelled: "quiet",
  // connections
  unverified: "quiet", unsafe: "bad",
  // people: their `active` is not that of an open grant, so a page says `enabled`
  enabled: "good", disabled: "quiet", "guest-pending": "attention",
  // keys
  valid: "good",
  // reports
  ready: "good", done: "good",
};

const WORDS: Record<string, string> = {
  none: "no drift",
  found: "drift found",
  "awaiting-approval": "awaiting approval",
  "waiting-for-grant": "waiting for a grant",
  "needs-attention": "needs attention",
  "not-attempted": "not attempted",
  "guest-pending": "guest, no waiver",
};

export function StateLabel({ state, prefix }: { state: string; prefix?: string }) {
  return (
    <Label isCompact color={COLORS[TONES[state] ?? "quiet"]} variant="outline">
      {prefix ? `${prefix} ` : ""}
      {WORDS[state] ?? state}
    </Label>
  );
}

export function words(state: string): string {
  return WORDS[state] ?? state;
}

interface Axes {
  lifecycle: string;
  health: string;
  drift: string;
  access: string;
}

const AXES: { key: keyof Axes; name: string; means: Record<string, string> }[] = [
  { key: "lifecycle", name: "Lifecycle", means: {} },
  { key: "health", name: "Health", means: { unknown: "Nothing reported yet. Unknown is not failure." } },
  {
    key: "drift",
    name: "Drift",
    means: { unknown: "The cloud is compared only while a grant is active. Unknown is not failure." },
  },
  {
    key: "access",
    name: "Vendor access",
    means: { open: "Our role in this account can be assumed now.", closed: "Proven closed." },
  },
];

/** The four status axes, which never overwrite each other. */
export function AxesList({ axes }: { axes: Axes }) {
  return (
    <dl className="rf-axes">
      {AXES.map(({ key, name, means }) => (
        <div key={key} title={means[axes[key]]}>
          <dt>{name}</dt>
          <dd>
            <StateLabel state={axes[key]} />
          </dd>
        </div>
      ))}
    </dl>
  );
}

export { AXES };
