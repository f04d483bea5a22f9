// The history behind the charts: the whole range at once, then only the newest steps as they end.
import { signal } from "@preact/signals";
import { type Columns, type Span, columns, mergePoints, spanOf, stepFor } from "../core/history";
import type { TimeRange } from "../core/route";
import { durationMs, timestampMs, toDuration, toTimestamp } from "../core/time";
import { TREND_WINDOW_MS, pointBefore } from "../core/trend";
import { type Call, problemWords } from "../live/call";
import type { ClockStore } from "./clock";
import type { MetricsStore } from "./metrics";
import type { MetricPoint, QueryMetricsResponse } from "../core/wire";

export interface HistoryView {
  readonly phase: "loading" | "ready" | "error";
  readonly columns: Columns | undefined;
  readonly span: Span;
  readonly stepMs: number;
  readonly problem: string;
  // When the charts were last right, server time.
  readonly at: number | undefined;
}

const SECOND = 1_000;
const TREND_EVERY_MS = 30 * SECOND;
// Late events still change steps that have just ended.
const STEPS_ASKED_AGAIN = 4;

export class HistoryStore {
  readonly view = signal<HistoryView>({
    phase: "loading",
    columns: undefined,
    span: { from: 0, to: 0 },
    stepMs: SECOND,
    problem: "",
    at: undefined,
  });
  #points = new Map<number, MetricPoint>();
  #range: TimeRange | undefined;
  #stepMs = SECOND;
  #abort = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #trendAt = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly call: Call,
    private readonly clock: ClockStore,
    private readonly metrics: MetricsStore,
  ) {}

  // Loads all of a range: at the start, when another is chosen, and after a break.
  load(range: TimeRange): void {
    const fresh = this.#range !== range;
    this.#range = range;
    this.#abort.abort();
    this.#abort = new AbortController();
    if (fresh) {
      this.#points = new Map();
      this.view.value = {
        ...this.view.peek(),
        phase: "loading",
        columns: undefined,
        span: spanOf(range, this.clock.serverNow()),
        problem: "",
      };
    }
    this.#trendAt = Number.NEGATIVE_INFINITY;
    void this.#round(this.#abort.signal, true);
  }

  stop(): void {
    this.#abort.abort();
    clearTimeout(this.#timer);
  }

  async #round(signal: AbortSignal, whole: boolean): Promise<void> {
    clearTimeout(this.#timer);
    const range = this.#range;
    if (range === undefined) {
      return;
    }
    const now = this.clock.serverNow();
    const span = spanOf(range, now);
    let failed = false;
    try {
      const from = whole ? span.from : Math.max(span.from, this.#lastStart() - STEPS_ASKED_AGAIN * this.#stepMs);
      const answer = await this.#ask(from, span.to, stepFor(span.to - span.from), signal);
      this.#take(answer, span, whole);
      await this.#trend(signal);
    } catch (error) {
      if (signal.aborted) {
        return;
      }
      failed = true;
      this.view.value = { ...this.view.peek(), phase: "error", span, problem: problemWords(error) };
    }
    if (range.kind === "last" || failed) {
      const wait = failed ? 3 * SECOND : Math.min(Math.max(this.#stepMs, 5 * SECOND), 30 * SECOND);
      this.#timer = setTimeout(() => void this.#round(signal, failed || this.#points.size === 0), wait);
    }
  }

  async #ask(from: number, to: number, stepMs: number, signal: AbortSignal): Promise<QueryMetricsResponse> {
    const input = { startTime: toTimestamp(from), endTime: toTimestamp(to), step: toDuration(stepMs) };
    return (await this.call("MetricsService/QueryMetrics", input, signal)).message;
  }

  #take(answer: QueryMetricsResponse, span: Span, whole: boolean): void {
    this.#stepMs = durationMs(answer.step) ?? stepFor(span.to - span.from);
    const keepFrom = span.from - this.#stepMs;
    this.#points = mergePoints(whole ? new Map() : this.#points, answer.points, keepFrom);
    const until = Math.min(span.to, this.clock.serverNow());
    this.view.value = {
      phase: "ready",
      columns: columns(this.#points, this.#stepMs, until),
      span,
      stepMs: this.#stepMs,
      problem: "",
      at: this.clock.serverNow(),
    };
  }

  async #trend(signal: AbortSignal): Promise<void> {
    const now = this.clock.serverNow();
    if (now - this.#trendAt < TREND_EVERY_MS) {
      return;
    }
    const answer = await this.#ask(now - 3 * TREND_WINDOW_MS, now, TREND_WINDOW_MS, signal);
    const stepMs = durationMs(answer.step) ?? TREND_WINDOW_MS;
    this.metrics.before.value = stepMs === TREND_WINDOW_MS ? (pointBefore(answer.points, stepMs, now) ?? null) : null;
    this.#trendAt = now;
  }

  #lastStart(): number {
    return [...this.#points.values()].reduce((last, point) => Math.max(last, timestampMs(point.startTime) ?? 0), 0);
  }
}
