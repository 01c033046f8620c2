/** Usage of a boundary: figures with their formula, by day, by dimension. Aggregates only. */
import { useQuery } from "@tanstack/react-query";
import { createColumnHelper } from "@tanstack/react-table";
import { useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { useMemo } from "react";
import type { By, Figure, UsageSummaryOut } from "../api/schema";
import { usageQuery } from "../api/queries";
import { DataTable } from "../components/DataTable";
import { DayChart } from "../components/DayChart";
import { EmptyHint } from "../components/EmptyHint";
import { ErrorState } from "../components/ErrorState";
import { figure, MetricCard } from "../components/MetricCard";
import { Panel } from "../components/Panel";
import { StateLabel } from "../components/States";
import { utc } from "../components/Time";
import { WaitingPart } from "../components/Waiting";

const SPANS: [days: string, label: string][] = [
  ["1", "Today"],
  ["7", "7 days"],
  ["30", "30 days"],
  ["90", "90 days"],
];
const DIMENSIONS: [by: By, label: string][] = [
  ["model_version", "Model version"],
  ["group", "Group"],
  ["feature", "Feature"],
  ["language", "Language"],
  ["day", "Day"],
];

export function Usage() {
  const { boundary } = useParams({ strict: false }) as { boundary: string };
  const search = useSearch({ strict: false }) as { days?: number; by?: string };
  const days = search.days ?? 7;
  const by = DIMENSIONS.find(([key]) => key === search.by)?.[0] ?? "model_version";
  const [from, to] = useMemo(() => spanOf(days), [days]);
  const total = useQuery(usageQuery(boundary, from, to, "day"));
  const rows = useQuery(usageQuery(boundary, from, to, by));
  const isEmpty = total.data !== undefined && (total.data.metrics.length === 0 || total.data.as_of === null);
  const navigate = useNavigate();
  const choose = (next: { days?: number; by?: string }) =>
    void navigate({
      to: "/boundaries/$boundary/usage",
      params: { boundary },
      search: { days, by, ...next },
      replace: true,
      resetScroll: false,
    });
  return (
    <>
      <div className="rf-row rf-toolbar">
        <Choice label="Span" value={String(days)} options={SPANS} onChange={(value) => choose({ days: Number(value) })} />
        <span className="rf-grow" />
        {total.data && <Fresh summary={total.data} />}
      </div>
      {total.error ? (
        <Panel title="Usage">
          <ErrorState error={total.error} what="Usage" onRetry={() => void total.refetch()} />
        </Panel>
      ) : !total.data ? (
        <WaitingPart lines={4} />
      ) : isEmpty ? (
        <Panel title="Usage">
          <EmptyHint title="Nothing was used in this span.">The gateway counts requests; editors report what became of suggestions.</EmptyHint>
        </Panel>
      ) : (
        <>
          <ul className="rf-cards">
            {total.data.metrics.map((metric) => (
              <li key={metric.key}>
                <MetricCard metric={metric} />
              </li>
            ))}
          </ul>
          <Panel title="By day">
            <DayChart summary={total.data} />
          </Panel>
        </>
      )}
      {!total.error && !isEmpty && (
        <Panel title="By dimension" aside={<Choice label="Dimension" value={by} options={DIMENSIONS} onChange={(value) => choose({ by: value })} />}>
          {rows.error ? (
            <ErrorState error={rows.error} what="Usage" onRetry={() => void rows.refetch()} />
          ) : !rows.data ? (
            <WaitingPart />
          ) : rows.data.rows.length === 0 ? (
            <EmptyHint title="Nothing to show in this span." />
          ) : (
            <ByDimension summary={rows.data} name={DIMENSIONS.find(([key]) => key === by)?.[1] ?? by} />
          )}
        </Panel>
      )}
    </>
  );
}

/** Whole days in UTC, as the roll-ups are: the last so many, today included. */
function spanOf(days: number): [string, string] {
  const today = Date.now();
  const day = (at: number) => new Date(at).toISOString().slice(0, 10);
  return [day(today - (days - 1) * 86_400_000), day(today)];
}

function Fresh({ summary }: { summary: UsageSummaryOut }) {
  return (
    <p className="rf-row rf-muted">
      {summary.synthetic && (
        <span title="Made by the demo's traffic, not by people.">
          <StateLabel state="synthetic" />
        </span>
      )}
      {summary.as_of ? `as of ${utc(summary.as_of)}` : "nothing reported yet"}
      {summary.as_of && !summary.is_final ? ", still counting" : ""}
    </p>
  );
}

function ByDimension({ summary, name }: { summary: UsageSummaryOut; name: string }) {
  const columns = useMemo(() => {
    const column = createColumnHelper<UsageSummaryOut["rows"][number]>();
    return [
      column.accessor("by", { header: name }),
      ...summary.metrics.map((metric: Figure) =>
        column.accessor((row) => row.metrics[metric.key] ?? null, {
          id: metric.key,
          header: metric.label,
          cell: ({ getValue }) => <span className="rf-figures">{figure(getValue(), metric.unit)}</span>,
        }),
      ),
    ];
  }, [summary.metrics, name]);
  return (
    <DataTable label={`Usage by ${name.toLowerCase()}`} rows={summary.rows} columns={columns} rowId={(r) => r.by} />
  );
}

interface ChoiceProps {
  label: string;
  value: string;
  options: [string, string][];
  onChange: (value: string) => void;
}

function Choice({ label, value, options, onChange }: ChoiceProps) {
  return (
    <label className="rf-filter">
      <span>{label}</span>
      <select value={value} onChange={(event) => onChange(event.target.value)}>
        {options.map(([key, text]) => (
          <option key={key} value={key}>
            {text}
          </option>
        ))}
      </select>
    </label>
  );
}
