import { Link } from "@tanstack/react-router";
import type { PendingOut, PermissionSummaryOut } from "../api/schema";
import { StateLabel } from "./States";
import { Ago, duration } from "./Time";

export const KINDS: Record<string, string> = { grant: "Access", plan: "Plan", guest: "Guest", override: "Window" };

/** What waits, each with why the reader may or may not decide on it. */
export function PendingList({ items }: { items: PendingOut[] }) {
  return (
    <ul className="rf-list">
      {items.map((item) => (
        <li key={`${item.kind}-${item.id}`}>
          <div className="rf-list-line">
            <StateLabel state={KINDS[item.kind] ?? item.kind} />
            <Link to="/approvals/$kind/$id" params={{ kind: item.kind, id: item.id }} className="rf-strong">
              {item.title}
            </Link>
            <span className="rf-grow" />
            {item.may_decide ? <span className="rf-you">waits for you</span> : null}
          </div>
          <p className="rf-muted">
            {[
              item.boundary?.display_name,
              item.requested_by && `asked by ${item.requested_by.display}`,
              item.duration_seconds && `for ${duration(item.duration_seconds)}`,
              item.permissions && difference(item.permissions),
              item.approvals_needed > 1 &&
                `${item.approved_by.length} of ${item.approvals_needed} approvals`,
              item.why_not === "four-eyes" &&
                (item.kind === "guest"
                  ? "you asked, are the guest, or have approved: others decide"
                  : "your own request: somebody else decides"),
            ]
              .filter(Boolean)
              .join(" · ")}
            {" · "}
            <Ago at={item.requested_at} />
          </p>
        </li>
      ))}
    </ul>
  );
}

function difference({ compared_with, counts }: PermissionSummaryOut): string {
  if (!compared_with?.kept) return `${counts.added} permissions, all new`;
  const words = (["added", "removed", "widened", "narrowed", "changed"] as const)
    .filter((kind) => counts[kind] > 0)
    .map((kind) => `${counts[kind]} ${kind}`);
  if (counts.settings > 0) words.push(`${counts.settings} other settings`);
  return `${words.join(", ") || "the same permissions"}, compared with g${compared_with.number}`;
}
