// History as columns for the charts. A step about which nothing is known is a null in every line, so that a chart shows a hole there
// and not a zero; the server leaves such steps out, so they are put back here.
import type { TimeRange } from "./route";
import { durationMs, timestampMs } from "./time";
import type { MetricPoint } from "./wire";

export type Line = (number | null)[];

export interface Columns {
  // Where each step begins, seconds since the epoch.
  readonly time: number[];
  readonly throughput: Line;
  readonly errorRate: Line;
  readonly successRate: Line;
  readonly p50: Line;
  readonly p95: Line;
  readonly p99: Line;
  readonly running: Line;
  readonly queued: Line;
  readonly agents: Line;
}

export interface Span {
  readonly from: number;
  readonly to: number;
}

const SECOND = 1_000;
const MINUTE = 60 * SECOND;

// Wide enough that most steps of a small fleet hold an end, narrow enough that a minute's trouble is seen.
const STEPS: readonly { readonly upTo: number; readonly step: number }[] = [
  { upTo: 6 * MINUTE, step: 5 * SECOND },
  { upTo: 20 * MINUTE, step: 15 * SECOND },
  { upTo: 90 * MINUTE, step: MINUTE },
  { upTo: 8 * 60 * MINUTE, step: 5 * MINUTE },
  { upTo: 30 * 60 * MINUTE, step: 15 * MINUTE },
];

export function stepFor(spanMs: number): number {
  return STEPS.find((each) => spanMs <= each.upTo)?.step ?? Math.ceil(spanMs / 100 / MINUTE) * MINUTE;
}

export function spanOf(range: TimeRange, now: number): Span {
  return range.kind === "fixed" ? { from: range.from, to: range.to } : { from: now - range.ms, to: now };
}

// Points by their start, so that asking again for the newest steps replaces them.
export function mergePoints(
  known: ReadonlyMap<number, MetricPoint>,
  fresh: readonly MetricPoint[],
  keepFrom: number,
): Map<number, MetricPoint> {
  const merged = new Map<number, MetricPoint>();
  const starts = new Set([...known.keys(), ...fresh.map((point) => timestampMs(point.startTime) ?? 0)]);
  const byStart = new Map(fresh.map((point) => [timestampMs(point.startTime) ?? 0, point]));
  for (const start of [...starts].sort((a, b) => a - b)) {
    const point = byStart.get(start) ?? known.get(start);
    if (point !== undefined && start >= keepFrom) {
      merged.set(start, point);
    }
  }
  return merged;
}

// A step that has not ended yet would look like a fall, so it is left out until it has.
export function columns(points: ReadonlyMap<number, MetricPoint>, stepMs: number, wholeUntil: number): Columns {
  const result: Columns = {
    time: [],
    throughput: [],
    errorRate: [],
    successRate: [],
    p50: [],
    p95: [],
    p99: [],
    running: [],
    queued: [],
    agents: [],
  };
  let expected: number | undefined;
  for (const [start, point] of points) {
    if (start + stepMs > wholeUntil) {
      continue;
    }
    if (expected !== undefined && start > expected + stepMs / 2) {
      append(result, expected, undefined);
    }
    append(result, start, point);
    expected = start + stepMs;
  }
  return result;
}

function append(result: Columns, start: number, point: MetricPoint | undefined): void {
  const latency = point?.latency;
  result.time.push(start / SECOND);
  result.throughput.push(point === undefined ? null : Number(point.throughput) * 60);
  result.errorRate.push(point?.errorRate === undefined ? null : Number(point.errorRate) * 100);
  result.successRate.push(point?.errorRate === undefined ? null : (1 - Number(point.errorRate)) * 100);
  result.p50.push(durationMs(latency?.p50) ?? null);
  result.p95.push(durationMs(latency?.p95) ?? null);
  result.p99.push(durationMs(latency?.p99) ?? null);
  result.running.push(optional(point?.states?.running));
  result.queued.push(optional(point?.states?.queueDepth));
  result.agents.push(optional(point?.agentsOnline));
}

function optional(value: string | undefined): number | null {
  return value === undefined ? null : Number(value);
}
