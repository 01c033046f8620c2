/** People of the organization with their roles, and at which layer each role is held. */
import { PageSection } from "@patternfly/react-core/dist/dynamic/components/Page";
import { useQuery, useSuspenseQuery } from "@tanstack/react-query";
import { createColumnHelper } from "@tanstack/react-table";
import { ROLE_LABELS, type Role } from "../api/can";
import type { DirectoryPersonOut } from "../api/schema";
import { meQuery, peopleQuery } from "../api/queries";
import { DataTable } from "../components/DataTable";
import { EmptyHint } from "../components/EmptyHint";
import { ErrorState } from "../components/ErrorState";
import { PageHead } from "../components/PageHead";
import { Panel } from "../components/Panel";
import { StateLabel } from "../components/States";
import { WaitingPart } from "../components/Waiting";

const column = createColumnHelper<DirectoryPersonOut>();
const COLUMNS = [
  column.accessor("display", {
    header: "Person",
    cell: ({ row: { original: p } }) => (
      <>
        <span className="rf-strong">{p.display}</span>{" "}
        {p.display !== p.subject && <span className="rf-muted">{p.subject}</span>}
      </>
    ),
  }),
  column.accessor((p) => p.roles.map((r) => r.role).join(" "), {
    id: "roles",
    header: "Roles, and where",
    cell: ({ row: { original: p } }) =>
      p.roles.length === 0 ? (
        <span className="rf-muted">no role</span>
      ) : (
        <ul className="rf-roles">
          {p.roles.map((r) => (
            <li key={`${r.role}-${r.boundary ?? ""}-${r.group ?? ""}`} title={r.reason}>
              {ROLE_LABELS[r.role as Role] ?? r.role}
              <span className="rf-muted">
                {r.boundary ? ` in ${r.boundary}` : " in the whole organization"}
                {r.group ? `, through group ${r.group}` : ""}
              </span>
            </li>
          ))}
        </ul>
      ),
  }),
  column.accessor((p) => p.groups.join(", "), { id: "groups", header: "Groups", cell: ({ getValue }) => getValue() || "–" }),
  column.accessor("source", { header: "Known from" }),
  column.accessor("status", { header: "Status", cell: ({ getValue }) => <StateLabel state={getValue() === "active" ? "enabled" : getValue()} /> }),
];

export function People() {
  const { data: me } = useSuspenseQuery(meQuery);
  const organization = me.organization ?? "";
  const people = useQuery(peopleQuery(organization));
  return (
    <>
      <PageHead title="People" about="Roles come from the organization's file and its groups; they are read here, and changed there." />
      <PageSection isWidthLimited>
        <Panel title={`People of ${organization}`}>
          {people.isPending ? (
            <WaitingPart />
          ) : people.error ? (
            <ErrorState error={people.error} what="People" onRetry={() => void people.refetch()} />
          ) : people.data.length === 0 ? (
            <EmptyHint title="Nobody yet.">Name people in the organization's file and apply it.</EmptyHint>
          ) : (
            <DataTable label="People" rows={people.data} columns={COLUMNS} rowId={(p) => p.id} initialSort={[{ id: "display", desc: false }]} />
          )}
        </Panel>
      </PageSection>
    </>
  );
}
