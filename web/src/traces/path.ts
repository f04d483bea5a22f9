// The critical path in columns, and what of it each span has. Pure.
import { durationMs } from "../core/time";
import type { Tree } from "./tree";
import type { Span, TraceAnalysis } from "./wire";

export interface CriticalPath {
  // Places in the tree.
  readonly at: Int32Array;
  readonly start: Float64Array;
  readonly end: Float64Array;
  // By place in the tree: how long each span is on it.
  readonly share: Float64Array;
}

export const NO_PATH: CriticalPath = {
  at: new Int32Array(),
  start: new Float64Array(),
  end: new Float64Array(),
  share: new Float64Array(),
};

export function pathOf(tree: Tree, analysis: TraceAnalysis | undefined): CriticalPath {
  const steps = (analysis?.criticalPath ?? []).filter((step) => tree.at.has(step.spanId));
  const at = Int32Array.from(steps, (step) => tree.at.get(step.spanId) as number);
  const start = Float64Array.from(steps, (step) => durationMs(step.startOffset) ?? 0);
  const end = Float64Array.from(steps, (step) => durationMs(step.endOffset) ?? 0);
  const share = new Float64Array(tree.spans.length);
  at.forEach((each, index) => (share[each] = (share[each] as number) + (end[index] as number) - (start[index] as number)));
  return { at, start, end, share };
}

// The steps that are in view: from the first that ends behind its beginning.
export function stepsFrom({ end }: CriticalPath, from: number): number {
  let [low, high] = [0, end.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((end[middle] as number) < from) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// The next span for which something holds, from one on and around.
export function nextSpan(tree: Tree, from: number, holds: (span: Span, at: number) => boolean): number | undefined {
  const size = tree.spans.length;
  for (let step = 1; step <= size; step++) {
    const at = (from + step) % size;
    if (holds(tree.spans[at] as Span, at)) {
      return at;
    }
  }
  return undefined;
}
