/** One metric by day as bars, drawn by us; the same numbers as a table for whoever cannot see them. */
import { useState } from "react";
import type { UsageSummaryOut } from "../api/schema";
import { figure } from "./MetricCard";

const WIDTH = 720;
const HEIGHT = 180;
const FOOT = 22;
const LEFT = 48;

export function DayChart({ summary }: { summary: UsageSummaryOut }) {
  const [key, setKey] = useState(summary.metrics[0]!.key);
  const metric = summary.metrics.find((m) => m.key === key) ?? summary.metrics[0]!;
  const points = summary.rows.map((row) => ({ day: row.by.slice(0, 10), value: row.metrics[metric.key] ?? null }));
  const highest = Math.max(...points.map((p) => p.value ?? 0), metric.unit === "share" ? 0.01 : 1);
  const step = (WIDTH - LEFT) / Math.max(1, points.length);
  const bar = Math.min(40, step * 0.7);
  const y = (value: number) => (HEIGHT - FOOT) * (1 - value / highest) + 6;
  const every = Math.ceil(points.length / 8);
  return (
    <figure className="rf-chart">
      <figcaption className="rf-row">
        <label className="rf-filter">
          <span>Figure</span>
          <select value={key} onChange={(event) => setKey(event.target.value)}>
            {summary.metrics.map((m) => (
              <option key={m.key} value={m.key}>
                {m.label}
              </option>
            ))}
          </select>
        </label>
      </figcaption>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT + 6}`} role="img" aria-label={`${metric.label} by day; the table below has the numbers`}>
        {[0, 0.5, 1].map((part) => (
          <g key={part}>
            <line x1={LEFT} x2={WIDTH} y1={y(highest * part)} y2={y(highest * part)} className="rf-gridline" />
            <text x={LEFT - 6} y={y(highest * part) + 4} textAnchor="end">
              {figure(Math.round(highest * part * 1000) / 1000, metric.unit)}
            </text>
          </g>
        ))}
        {points.map((p, i) => (
          <g key={p.day}>
            {p.value !== null && (
              <rect x={LEFT + i * step + (step - bar) / 2} width={bar} y={y(p.value)} height={Math.max(1, y(0) - y(p.value))} rx="2">
                <title>{`${p.day}: ${figure(p.value, metric.unit)}`}</title>
              </rect>
            )}
            {i % every === 0 && (
              <text x={LEFT + i * step + step / 2} y={HEIGHT + 2} textAnchor="middle">
                {p.day.slice(5)}
              </text>
            )}
          </g>
        ))}
      </svg>
      <details>
        <summary>The same as a table</summary>
        <table className="rf-plain">
          <thead>
            <tr>
              <th scope="col">Day</th>
              <th scope="col">{metric.label}</th>
            </tr>
          </thead>
          <tbody>
            {points.map((p) => (
              <tr key={p.day}>
                <th scope="row">{p.day}</th>
                <td className="rf-figures">{figure(p.value, metric.unit)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </details>
    </figure>
  );
}
