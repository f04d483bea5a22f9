// What a rule compares, over time, from the stored metrics: for the sparkline of a row and for the evidence of an alert.
import { signal } from "@preact/signals";
import type { Line, Span } from "../core/history";
import { stepFor } from "../core/history";
import { durationMs, jsonMs, timestampMs, toDuration, toTimestamp } from "../core/time";
import type { AlertMetricJson, AlertRuleJson, ThresholdJson } from "../gen/pilothouse/v1/rules_pb";
import type { Call } from "../live/call";
import type { ClockStore } from "../stores/clock";
import { DIMENSIONS, dimensionOf, thresholdsOf } from "./words";
import type { Alert, MetricDimension, MetricPoint } from "../core/wire";

export interface Subject {
  readonly threshold: ThresholdJson;
  readonly dimension: MetricDimension;
  readonly name: string;
}

export interface Series {
  readonly time: number[];
  readonly values: Line;
  readonly stepMs: number;
}

const FRESH_MS = 15_000;
const SPARK_MS = 30 * 60_000;
const MOST_KEPT = 60;

// What the alert's rule compares of the alert's instance; undefined where no history of that is kept.
export function subjectOf(alert: Alert, rule: AlertRuleJson | undefined, index: number): Subject | undefined {
  const threshold = thresholdsOf(rule?.condition)[index];
  if (threshold === undefined || threshold.metric === "ALERT_METRIC_AGENT_SILENCE") {
    return undefined;
  }
  const dimension = dimensionOf(threshold);
  const label = DIMENSIONS.find(([each]) => each === dimension)?.[2] ?? "";
  const name = label === "" ? "" : (alert.labels[label] ?? "");
  return label !== "" && name === "" ? undefined : { threshold, dimension, name };
}

// Counts add up, so rates are of the rule's whole window as the rule sees it; percentiles do not, so they are of each step.
export function series(points: readonly MetricPoint[], stepMs: number, threshold: ThresholdJson, from: number): Series {
  const steps = Math.max(1, Math.round(jsonMs(threshold.window) / stepMs));
  const time: number[] = [];
  const values: Line = [];
  const starts = points.map((point) => timestampMs(point.startTime) ?? 0);
  let expected: number | undefined;
  starts.forEach((start, index) => {
    if (start < from) {
      return;
    }
    if (expected !== undefined && start > expected + stepMs / 2) {
      time.push(expected / 1000);
      values.push(null);
    }
    const since = start - (steps - 0.5) * stepMs;
    let first = index;
    while (first > 0 && (starts[first - 1] ?? 0) > since) {
      first--;
    }
    time.push(start / 1000);
    values.push(valueOf(points.slice(first, index + 1), threshold.metric, steps * stepMs));
    expected = start + stepMs;
  });
  return { time, values, stepMs };
}

function valueOf(points: readonly MetricPoint[], metric: AlertMetricJson | undefined, windowMs: number): number | null {
  const last = points.at(-1);
  const sum = (field: "completed" | "failed"): number => points.reduce((total, point) => total + Number(point[field]), 0);
  const seconds = (value: string | undefined): number | null => (value === undefined ? null : durationMs(value) / 1000);
  const ended = sum("completed") + sum("failed");
  switch (metric) {
    case "ALERT_METRIC_ERROR_RATE":
      return ended === 0 ? null : sum("failed") / ended;
    case "ALERT_METRIC_SUCCESS_RATE":
      return ended === 0 ? null : sum("completed") / ended;
    case "ALERT_METRIC_THROUGHPUT":
      return sum("completed") / (windowMs / 1000);
    case "ALERT_METRIC_LATENCY_P50":
      return seconds(last?.latency?.p50);
    case "ALERT_METRIC_LATENCY_P95":
      return seconds(last?.latency?.p95);
    case "ALERT_METRIC_LATENCY_P99":
      return seconds(last?.latency?.p99);
    case "ALERT_METRIC_QUEUE_DEPTH":
      return last?.states === undefined ? null : Number(last.states.queueDepth);
    default:
      return null;
  }
}

interface Kept {
  readonly values: Line;
  readonly at: number;
}

export class SeriesStore {
  readonly #sparks = signal<ReadonlyMap<string, Kept>>(new Map());
  readonly #asked = new Set<string>();

  constructor(
    private readonly call: Call,
    private readonly clock: ClockStore,
  ) {}

  async read(subject: Subject, span: Span, abort?: AbortSignal): Promise<Series> {
    const step = stepFor(span.to - span.from);
    const from = span.from - jsonMs(subject.threshold.window);
    const input = {
      ...{ dimension: subject.dimension, name: subject.name },
      ...{ startTime: toTimestamp(from), endTime: toTimestamp(span.to), step: toDuration(step) },
    };
    const { message } = await this.call("MetricsService/QueryMetrics", input, abort);
    return series(message.points, durationMs(message.step) ?? step, subject.threshold, span.from);
  }

  // The last half hour, as far as it is known; asked for again when it is old. Never an error: a row says enough without it.
  spark(subject: Subject): Line | undefined {
    const key = `${subject.dimension} ${subject.name} ${JSON.stringify(subject.threshold)}`;
    const kept = this.#sparks.value.get(key);
    if (!this.#asked.has(key) && (kept === undefined || this.clock.now.value - kept.at > FRESH_MS)) {
      this.#asked.add(key);
      void this.#fetch(key, subject);
    }
    return kept?.values;
  }

  async #fetch(key: string, subject: Subject): Promise<void> {
    const now = this.clock.serverNow();
    let values: Line = this.#sparks.peek().get(key)?.values ?? [];
    try {
      values = (await this.read(subject, { from: now - SPARK_MS, to: now })).values;
    } catch {
      // What was known stays; it is asked for again as if it were fresh, so that a server that is away is not asked all the time.
    }
    const sparks = new Map(this.#sparks.peek());
    sparks.delete(key);
    sparks.set(key, { values, at: now });
    this.#sparks.value = sparks.size > MOST_KEPT ? new Map([...sparks].slice(-MOST_KEPT)) : sparks;
    this.#asked.delete(key);
  }
}
