import { PageSection } from "@patternfly/react-core/dist/dynamic/components/Page";
import { useQuery } from "@tanstack/react-query";
import { createColumnHelper } from "@tanstack/react-table";
import { Link } from "@tanstack/react-router";
import { installsQuery } from "../api/queries";
import type { InstallOut } from "../api/schema";
import { DataTable } from "../components/DataTable";
import { EmptyHint } from "../components/EmptyHint";
import { ErrorState } from "../components/ErrorState";
import { PageHead } from "../components/PageHead";
import { Panel } from "../components/Panel";
import { StateLabel } from "../components/States";
import { Ago } from "../components/Time";
import { WaitingPart } from "../components/Waiting";

const column = createColumnHelper<InstallOut>();
const COLUMNS = [
  column.accessor("boundary", {
    header: "Boundary",
    cell: ({ row: { original: i } }) => (
      <Link to="/installs/$installId" params={{ installId: i.id }} className="rf-strong">
        {i.boundary}
      </Link>
    ),
  }),
  column.accessor((i) => (i.revisions[0] ? `${i.revisions[0].blueprint} ${i.revisions[0].blueprint_version}` : i.name), { id: "blueprint", header: "Blueprint" }),
  column.accessor("lifecycle", { header: "Lifecycle", cell: ({ getValue }) => <StateLabel state={getValue()} /> }),
  column.accessor("access", { header: "Access", cell: ({ getValue }) => <StateLabel state={getValue()} /> }),
  column.accessor((i) => i.runs[0]?.state ?? "", {
    id: "run",
    header: "Newest run",
    cell: ({ row }) => (row.original.runs[0] ? <StateLabel state={row.original.runs[0].state} /> : "–"),
  }),
  column.accessor("created_at", { header: "Asked for", cell: ({ getValue }) => <Ago at={getValue()} /> }),
];

export function Installs() {
  const installs = useQuery(installsQuery);
  return (
    <>
      <PageHead title="Installs" about="Every running copy of a blueprint, and the runs that brought it about." />
      <PageSection isWidthLimited>
        <Panel title="All installs">
          {installs.isPending ? (
            <WaitingPart />
          ) : installs.error ? (
            <ErrorState error={installs.error} what="Installs" onRetry={() => void installs.refetch()} />
          ) : installs.data.length === 0 ? (
            <EmptyHint title="Nothing is installed yet." action={<Link to="/">See the next step at Home</Link>}>
              An install begins with an access grant for its boundary.
            </EmptyHint>
          ) : (
            <DataTable label="Installs" rows={installs.data} columns={COLUMNS} rowId={(i) => i.id} />
          )}
        </Panel>
      </PageSection>
    </>
  );
}
