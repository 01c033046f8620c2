import { useId } from "react";
import type { UsageMetric } from "../api/pending";

/** A figure with its unit; a dash where there is none, never a zero that was not measured. */
export function figure(value: number | null | undefined, unit: string): string {
  if (value === null || value === undefined) return "–";
  if (unit === "ratio" || unit === "%" || unit === "percent") {
    const share = unit === "ratio" ? value * 100 : value;
    return `${share.toFixed(1)} %`;
  }
  const number = new Intl.NumberFormat("en", { maximumFractionDigits: Number.isInteger(value) ? 0 : 1 }).format(value);
  return ["", "count", "1"].includes(unit) ? number : `${number} ${unit}`;
}

/** One metric: its figure, of what; the formula on hover and on focus, always read out. */
export function MetricCard({ metric }: { metric: UsageMetric }) {
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
