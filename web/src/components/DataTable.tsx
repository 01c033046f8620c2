/** Tables that sort; on a narrow screen each row becomes a card with its column names. */
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table/dist/dynamic/components/Table";
import {
  flexRender,
  getCoreRowModel,
  getSortedRowModel,
  useReactTable,
  type ColumnDef,
  type SortingState,
} from "@tanstack/react-table";
import { useState } from "react";

interface Props<T> {
  label: string;
  rows: T[];
  columns: ColumnDef<T, any>[]; // eslint-disable-line @typescript-eslint/no-explicit-any
  rowId: (row: T) => string;
  initialSort?: SortingState;
}

export function DataTable<T>({ label, rows, columns, rowId, initialSort = [] }: Props<T>) {
  const [sorting, setSorting] = useState<SortingState>(initialSort);
  const table = useReactTable({
    data: rows,
    columns,
    getRowId: rowId,
    state: { sorting },
    onSortingChange: setSorting,
    getCoreRowModel: getCoreRowModel(),
    getSortedRowModel: getSortedRowModel(),
  });
  const headers = table.getFlatHeaders();
  return (
    <div className="rf-scroll">
      <Table aria-label={label} variant="compact" gridBreakPoint="grid-md" className="rf-table">
        <Thead>
          <Tr>
            {headers.map((header, index) => (
              <Th
                key={header.id}
                modifier="nowrap"
                sort={
                  header.column.getCanSort()
                    ? {
                        columnIndex: index,
                        sortBy: {
                          index: headers.findIndex((h) => h.column.getIsSorted() !== false),
                          direction: header.column.getIsSorted() || "asc",
                        },
                        onSort: () => header.column.toggleSorting(),
                      }
                    : undefined
                }
              >
                {flexRender(header.column.columnDef.header, header.getContext())}
              </Th>
            ))}
          </Tr>
        </Thead>
        <Tbody>
          {table.getRowModel().rows.map((row) => (
            <Tr key={row.id}>
              {row.getVisibleCells().map((cell) => (
                <Td key={cell.id} dataLabel={String(cell.column.columnDef.header ?? "")}>
                  {flexRender(cell.column.columnDef.cell, cell.getContext())}
                </Td>
              ))}
            </Tr>
          ))}
        </Tbody>
      </Table>
    </div>
  );
}
