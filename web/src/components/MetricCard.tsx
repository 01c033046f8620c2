import { useId } from "react";
import type { Figure } from "../api/schema";

/** A figure with its unit; a dash where there is none, never a zero that was not measured. */
export function figure(value: number | null | undefined, unit: string): string {
  if (value === null || value === undefined) return "–";
  if (unit === "share") return `${(value * 100).toFixed(1)} %`;
  const number = new Intl.NumberFormat("en", { maximumFractionDigits: value < 10 ? 2 : 1 }).format(value);
  // The other units (controlplane/domains/usage/metrics.py, `Unit`) are in the label's words.
  return unit === "s" ? `${number} s` : number;
}

/** One metric: its figure, of what; the formula on hover and on focus, always read out. */
export function MetricCard({ metric }: { metric: Figure }) {
  const id = useId();
  return (
    <div className="rf-metric" tabIndex={0} aria-describedby={id} role="group" aria-label={metric.label}>
      <p className="rf-metric-label">{metric.label}</p>
      <p className="rf-metric-value rf-figures">{figure(metric.value, metric.unit)}</p>
      {metric.numerator !== null && metric.denominator !== null && (
        <p className="rf-muted rf-figures">
          {figure(metric.numerator, "count")} of {figure(metric.denominator, "count")}
        </p>
      )}
      <p className="rf-formula" id={id} role="note">
        {metric.formula}
      </p>
    </div>
  );
}
