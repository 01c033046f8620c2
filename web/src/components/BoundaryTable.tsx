import { createColumnHelper } from "@tanstack/react-table";
import { Link } from "@tanstack/react-router";
import type { BoundaryOut } from "../api/schema";
import { DataTable } from "./DataTable";
import { StateLabel } from "./States";
import { Ago } from "./Time";

const column = createColumnHelper<BoundaryOut>();
const first = (b: BoundaryOut) => b.standing?.installs[0];
const NOTHING = <span className="rf-muted">not installed</span>;

const COLUMNS = [
  column.accessor("display_name", {
    header: "Boundary",
    cell: ({ row: { original: b } }) => (
      <Link to="/boundaries/$boundary" params={{ boundary: b.name }} className="rf-strong">
        {b.display_name}
      </Link>
    ),
  }),
  column.accessor((b) => first(b)?.lifecycle ?? "", {
    id: "lifecycle",
    header: "Lifecycle",
    cell: ({ row }) => {
      const install = first(row.original);
      return install ? <StateLabel state={install.lifecycle} /> : NOTHING;
    },
  }),
  ...(["health", "drift", "access"] as const).map((axis) =>
    column.accessor((b) => first(b)?.[axis] ?? "", {
      id: axis,
      header: axis[0]!.toUpperCase() + axis.slice(1),
      cell: ({ row }) => {
        const install = first(row.original);
        return install ? <StateLabel state={install[axis]} /> : <span className="rf-muted">–</span>;
      },
    }),
  ),
  column.accessor((b) => b.standing?.agent_seen_at ?? "", {
    id: "agent",
    header: "Agent seen",
    cell: ({ row }) => {
      const at = row.original.standing?.agent_seen_at;
      return at ? <Ago at={at} /> : <span className="rf-muted">–</span>;
    },
  }),
];

/** All boundaries at a glance: four axes that never overwrite each other. */
export function BoundaryTable({ boundaries }: { boundaries: BoundaryOut[] }) {
  return <DataTable label="Boundaries" rows={boundaries} columns={COLUMNS} rowId={(b) => b.id} />;
}
