/**
 * Lay a run's steps out as rails: one row per step in the order of the run, one lane per branch that
 * is open at the same time. Pure, so that the drawing (`Timeline.tsx`) only draws.
 */
export const ROW = 52;

interface Node {
  key: string;
  after: string[];
  on_critical_path: boolean;
}

export interface Edge {
  key: string;
  /** Lanes at the top and at the bottom of the part that this row draws. */
  from: number;
  to: number;
  half: "in" | "out" | "through";
  critical: boolean;
}

export interface Row {
  lane: number;
  edges: Edge[];
}

export interface Rails {
  lanes: number;
  rows: Row[];
}

/** Return the lanes of the steps and, per row, the pieces of the edges that cross it. */
export function rails(steps: Node[]): Rails {
  const index = new Map(steps.map((s, i) => [s.key, i]));
  const last = steps.map((s) =>
    Math.max(-1, ...steps.flatMap((t, i) => (t.after.includes(s.key) ? [i] : []))),
  );
  const lanes: number[] = [];
  /** Until which row a lane is taken by the edges of a step above. */
  const busyUntil: number[] = [];
  steps.forEach((step, row) => {
    // The critical path keeps the first lane: its steps follow one another, so they never collide.
    let lane = step.on_critical_path ? 0 : 1;
    while (lane > 0 && (busyUntil[lane] ?? -1) > row) lane += 1;
    lanes.push(lane);
    busyUntil[lane] = Math.max(busyUntil[lane] ?? -1, last[row] ?? -1);
  });
  const rows: Row[] = steps.map((_, row) => ({ lane: lanes[row]!, edges: [] }));
  steps.forEach((step, row) => {
    for (const parent of step.after) {
      const from = index.get(parent);
      if (from === undefined || from >= row) continue;
      const critical = step.on_critical_path && steps[from]!.on_critical_path;
      const key = `${parent}-${step.key}`;
      // The bend lies in the parent's row when the branch opens, in the child's when it joins.
      const [a, b] = [lanes[from]!, lanes[row]!];
      const run = Math.max(a, b);
      rows[from]!.edges.push({ key, from: a, to: run, half: "out", critical });
      for (let r = from + 1; r < row; r += 1) {
        rows[r]!.edges.push({ key, from: run, to: run, half: "through", critical });
      }
      rows[row]!.edges.push({ key, from: run, to: b, half: "in", critical });
    }
  });
  return { lanes: Math.max(1, ...lanes.map((l) => l + 1)), rows };
}
