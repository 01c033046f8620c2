import type { ReactNode } from "react";

/** Nothing here, and what the next step is. */
export function EmptyHint({ title, children, action }: { title: string; children?: ReactNode; action?: ReactNode }) {
  return (
    <div className="rf-empty">
      <p className="rf-empty-title">{title}</p>
      {children && <p className="rf-empty-text">{children}</p>}
      {action && <div className="rf-empty-action">{action}</div>}
    </div>
  );
}
