/** Lines of a permission diff: what became of an action, how far it reaches, why, and on what. */
import type { LineOut, UseOut } from "../api/schema";
import { lacksEvidence } from "./PermissionsPanel";

export const SIGNS = {
  added: "+",
  removed: "−",
  widened: "↑",
  narrowed: "↓",
  changed: "±",
  unchanged: "=",
} as const;

const POWER: Record<LineOut["power"], string> = {
  more: "can do more",
  less: "can do less",
  unclear: "neither more nor less is proven",
  same: "",
};
const SHOWN = 3;

export function PermissionTable({ lines, label }: { lines: LineOut[]; label: string }) {
  return (
    <table className="rf-lines" aria-label={label}>
      <thead>
        <tr>
          <th scope="col">What became of it</th>
          <th scope="col">Action</th>
          <th scope="col">Why</th>
          <th scope="col">On what, and only if</th>
        </tr>
      </thead>
      <tbody>
        {lines.map((line) => (
          <Line key={`${line.effect}-${line.actions.join()}`} line={line} />
        ))}
      </tbody>
    </table>
  );
}

function Line({ line }: { line: LineOut }) {
  return (
    <tr className={`rf-is-${line.status}`}>
      <td>
        <span className="rf-sign" aria-hidden="true">{SIGNS[line.status]}</span> {line.status}
        {line.status !== "unchanged" && <div className="rf-muted">{POWER[line.power]}</div>}
      </td>
      <td>
        {line.effect === "Deny" && <strong>deny </strong>}
        {line.actions.map((action) => (
          <div key={action}><code>{action}</code></div>
        ))}
        <div className="rf-muted">{line.levels.join(", ") || "access level unknown"}</div>
      </td>
      <td><Why line={line} /></td>
      <td>
        <details>
          <summary>{reach(line)}</summary>
          <Uses
            title={line.after.length ? "Before" : "Until now"}
            uses={line.status === "unchanged" ? [] : line.before}
            beside={line.after}
            mark="gone"
          />
          <Uses
            title={line.before.length && line.status !== "unchanged" ? "Now" : ""}
            uses={line.after}
            beside={line.before}
            mark="new"
          />
        </details>
      </td>
    </tr>
  );
}

function Why({ line }: { line: LineOut }) {
  const uses = line.after.length ? line.after : line.before;
  const reasons = new Set(uses.flatMap((use) => use.statements.map((s) => s.reason ?? s.name)));
  const rest = line.evidence.length - SHOWN;
  return (
    <>
      {[...reasons].map((reason) => <div key={reason}>{reason}</div>)}
      {line.evidence.slice(0, SHOWN).map((e) => (
        <div key={e.kind + e.action + e.text} className="rf-muted">
          {e.kind}: {e.text}
        </div>
      ))}
      {rest > 0 && <div className="rf-muted">and {rest} more</div>}
      {lacksEvidence(line) && <div className="rf-unproven">no evidence: nothing is known to call it</div>}
    </>
  );
}

function reach(line: LineOut): string {
  const uses = line.after.length ? line.after : line.before;
  const resources = new Set(uses.flatMap((use) => use.resources));
  const principals = new Set(uses.flatMap((use) => use.principals));
  const conditions = uses.reduce((n, use) => n + use.conditions.length, 0);
  const on = principals.size
    ? count(principals.size, "principal")
    : resources.has("*")
      ? "every resource"
      : count(resources.size, "resource");
  return conditions ? `${on}, ${count(conditions, "condition")}` : on;
}

function count(n: number, word: string): string {
  return `${n} ${word}${n === 1 ? "" : "s"}`;
}

interface UsesProps {
  title: string;
  uses: UseOut[];
  /** The other side of the change; what is not there is marked. */
  beside: UseOut[];
  mark: "new" | "gone";
}

function Uses({ title, uses, beside, mark }: UsesProps) {
  if (uses.length === 0) return null;
  const known = new Set(
    beside.flatMap((u) => [...u.actions, ...u.principals, ...u.resources, ...u.conditions.map((c) => c.words)]),
  );
  const marked = (value: string) => (beside.length === 0 || known.has(value) ? null : <strong>{mark}: </strong>);
  return (
    <div className="rf-uses">
      {title && <h5>{title}</h5>}
      {uses.map((use, index) => (
        <div key={index} className="rf-use">
          {use.actions.length > 1 || uses.length > 1 ? <Codes title="Actions" values={use.actions} marked={marked} /> : null}
          <Codes title="By" values={use.principals} marked={marked} />
          <Codes title="On" values={use.resources} marked={marked} />
          {use.conditions.length > 0 && (
            <>
              <p className="rf-strong">Only if</p>
              <ul>
                {use.conditions.map((c) => (
                  <li key={c.operator + c.key} title={`${c.operator} ${c.key}`}>
                    {marked(c.words)}
                    {c.words}
                  </li>
                ))}
              </ul>
            </>
          )}
          <p className="rf-muted">in {use.statements.map((s) => s.name).join(", ")}</p>
        </div>
      ))}
    </div>
  );
}

interface CodesProps {
  title: string;
  values: string[];
  marked: (value: string) => React.ReactNode;
}

function Codes({ title, values, marked }: CodesProps) {
  if (values.length === 0) return null;
  return (
    <>
      <p className="rf-strong">{title}</p>
      <ul>{values.map((value) => <li key={value}>{marked(value)}<code>{value === "*" ? "* (all)" : value}</code></li>)}</ul>
    </>
  );
}
