import { Button } from "@patternfly/react-core/dist/dynamic/components/Button";
import { createColumnHelper } from "@tanstack/react-table";
import { useMemo } from "react";
import type { GatewayKeyOut } from "../api/schema";
import { DataTable } from "./DataTable";
import { StateLabel } from "./States";
import { Ago, Moment } from "./Time";

interface Props {
  keys: GatewayKeyOut[];
  mayRevoke: (key: GatewayKeyOut) => boolean;
  onRevoke: (key: GatewayKeyOut) => void;
}

const column = createColumnHelper<GatewayKeyOut>();

function stateOf(key: GatewayKeyOut): string {
  if (key.revoked_at) return "revoked";
  return Date.parse(key.expires_at) < Date.now() ? "expired" : "valid";
}

export function KeyTable({ keys, mayRevoke, onRevoke }: Props) {
  const columns = useMemo(
    () => [
      column.accessor((k) => k.owner.display, { id: "owner", header: "Owner" }),
      column.accessor("group", { header: "Group" }),
      column.accessor(stateOf, {
        id: "state",
        header: "State",
        cell: ({ getValue }) => <StateLabel state={getValue()} />,
      }),
      column.accessor("created_at", { header: "Made", cell: ({ getValue }) => <Ago at={getValue()} /> }),
      column.accessor("expires_at", { header: "Ends", cell: ({ getValue }) => <Moment at={getValue()} /> }),
      column.display({
        id: "revoke",
        header: "",
        cell: ({ row: { original: key } }) =>
          stateOf(key) === "valid" && mayRevoke(key) ? (
            <Button variant="link" isInline isDanger onClick={() => onRevoke(key)}>
              Revoke
            </Button>
          ) : null,
      }),
    ],
    [mayRevoke, onRevoke],
  );
  return <DataTable label="Gateway keys" rows={keys} columns={columns} rowId={(k) => k.id} initialSort={[{ id: "created_at", desc: true }]} />;
}
