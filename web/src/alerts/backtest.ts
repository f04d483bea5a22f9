// What a draft would have done: asked for anew a moment after each change, and read line by line as the server finds it out.
import { signal } from "@preact/signals";
import type { Line } from "../core/history";
import { toTimestamp } from "../core/time";
import type { AlertRuleJson } from "../gen/pilothouse/v1/rules_pb";
import { CallError, post, problemWords } from "../live/call";
import { lines } from "../live/lines";
import type { PlotLine } from "./plot";
import { MOST_LINES } from "./plot";

// Lines are JSON under the names of the contract, as everything below /api/v1/ is.
interface Update {
  readonly progress?: { readonly share: number };
  readonly source?: { readonly description: string };
  readonly alert?: {
    readonly labels: Readonly<Record<string, string>>;
    readonly fire_time?: string;
    readonly resolve_time?: string;
    readonly worst_value?: number;
    readonly summary: string;
  };
  readonly series?: {
    readonly labels: Readonly<Record<string, string>>;
    readonly threshold_index: number;
    readonly times: readonly string[];
    readonly values: readonly (number | string)[];
  };
  readonly summary?: {
    readonly fired: number;
    readonly instances: number;
    readonly firing_duration?: string;
    readonly caveats: readonly string[];
  };
}

export type Would = NonNullable<Update["alert"]>;

export interface Backtest {
  readonly phase: "idle" | "running" | "done" | "refused";
  readonly share: number;
  readonly from: number;
  readonly to: number;
  readonly alerts: readonly Would[];
  // By threshold; each on one axis of times.
  readonly lines: ReadonlyMap<number, readonly PlotLine[]>;
  readonly sources: readonly string[];
  readonly summary: Update["summary"];
  readonly problem: string;
}

const NOTHING: Omit<Backtest, "from" | "to" | "phase"> = {
  ...{ share: 0, alerts: [], lines: new Map(), sources: [], summary: undefined, problem: "" },
};
// A server that cannot say it yet is asked again.
const AGAIN_MS = 1000;
const WAIT_MS = 600;
const LONGEST_MS = 60_000;
const MOST_ALERTS = 500;

type Points = Map<string, Map<number, number | null>>;

export class BacktestStore {
  readonly view = signal<Backtest>({ ...NOTHING, phase: "idle", from: 0, to: 0 });
  #abort = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly base: string) {}

  run(rule: AlertRuleJson, sinceMs: number, now: number): void {
    this.stop();
    this.#timer = setTimeout(() => void this.#run(rule, now - sinceMs, now), WAIT_MS);
  }

  stop(): void {
    this.#abort.abort();
    clearTimeout(this.#timer);
  }

  async #run(rule: AlertRuleJson, from: number, to: number): Promise<void> {
    const { signal } = (this.#abort = new AbortController());
    const points = new Map<number, Points>();
    let found: Backtest = { ...NOTHING, phase: "running", from, to };
    this.view.value = { ...this.view.peek(), phase: "running", share: 0 };
    try {
      const input = { rule, startTime: toTimestamp(from), endTime: toTimestamp(to) };
      const response = await post(new URL("api/v1/rules:backtest", this.base), input, signal, LONGEST_MS);
      for await (const update of lines<Update>(response, signal)) {
        found = taken(found, points, update);
        this.view.value = update.progress === undefined ? this.view.peek() : { ...this.view.peek(), share: found.share };
      }
      this.view.value = { ...found, phase: "done", lines: linesOf(points, found.alerts) };
    } catch (error) {
      if (!signal.aborted) {
        const known = error instanceof CallError && (error.code === "UNIMPLEMENTED" || error.reason === "NO_SUCH_METHOD");
        const problem = known ? "this server cannot try a rule on its history" : problemWords(error);
        this.view.value = { ...NOTHING, from, to, phase: "refused", problem };
        if (error instanceof CallError && error.code === "UNAVAILABLE") {
          this.#timer = setTimeout(() => void this.#run(rule, from + AGAIN_MS, to + AGAIN_MS), AGAIN_MS);
        }
      }
    }
  }
}

function taken(found: Backtest, points: Map<number, Points>, { progress, source, alert, series, summary }: Update): Backtest {
  if (series !== undefined) {
    const ofThreshold = points.get(series.threshold_index) ?? (new Map() as Points);
    points.set(series.threshold_index, ofThreshold);
    const key = nameOf(series.labels);
    const line = ofThreshold.get(key) ?? new Map<number, number | null>();
    ofThreshold.set(key, line);
    series.times.forEach((time, index) => {
      const value = series.values[index];
      line.set(Date.parse(time) / 1000, typeof value === "number" ? value : null);
    });
  }
  return {
    ...found,
    share: progress?.share ?? found.share,
    sources: source === undefined || found.sources.includes(source.description) ? found.sources : [...found.sources, source.description],
    alerts: alert?.fire_time === undefined || found.alerts.length >= MOST_ALERTS ? found.alerts : [...found.alerts, alert],
    summary: summary ?? found.summary,
  };
}

export function nameOf(labels: Readonly<Record<string, string>>): string {
  return Object.values(labels).join(" · ");
}

// The instances that would have fired first, all on the times of any of them.
function linesOf(points: ReadonlyMap<number, Points>, alerts: readonly Would[]): ReadonlyMap<number, readonly PlotLine[]> {
  const fired = new Set(alerts.map((each) => nameOf(each.labels)));
  return new Map(
    [...points].map(([index, instances]) => {
      const chosen = [...instances].sort(([a], [b]) => Number(fired.has(b)) - Number(fired.has(a))).slice(0, MOST_LINES);
      const time = [...new Set(chosen.flatMap(([, line]) => [...line.keys()]))].sort((a, b) => a - b);
      return [index, chosen.map(([label, line]) => ({ label, time, values: time.map((at) => line.get(at) ?? null) as Line }))] as const;
    }),
  );
}
