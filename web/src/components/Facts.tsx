import type { ReactNode } from "react";

/** Names and values; on a narrow screen one under the other. */
export function Facts({ items }: { items: [name: string, value: ReactNode][] }) {
  return (
    <dl className="rf-facts">
      {items
        .filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false)
        .map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
    </dl>
  );
}
