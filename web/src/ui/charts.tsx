// Throughput, latency and error rate over the chosen range, with one crosshair through all three.
import { type Signal, useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { durationText, rate, timeOfDay } from "../core/format";
import type { Columns, Line, Span } from "../core/history";
import { DEFAULT_RANGE } from "../core/route";
import { jsonMs } from "../core/time";
import type { AlertMetricJson, AlertRuleJson } from "../gen/pilothouse/v1/rules_pb";
import type { FiringMark } from "../stores/alerts";
import { Chart } from "./chart";
import type { Token } from "./colours";
import { useStores } from "./context";
import { Note } from "./panel";
import type { ChartLine } from "./plot";
import type { Threshold } from "./scale";

interface LineSpec {
  readonly key: "throughput" | "p50" | "p95" | "p99" | "errorRate";
  readonly label: string;
  readonly colour: Token;
  readonly fill?: Token;
}

interface ChartSpec {
  readonly name: string;
  readonly title: string;
  readonly lines: readonly LineSpec[];
  readonly format: (value: number) => string;
  readonly top: number;
  readonly ceiling?: number;
  // What an axis may count in, where powers of ten make odd times.
  readonly steps?: readonly number[];
  // The metrics whose rules belong on this chart, and what turns their unit into the chart's.
  readonly rules: Readonly<Partial<Record<AlertMetricJson, number>>>;
}

const SECOND = 1_000;
export const TIME_STEPS: readonly number[] = [
  ...[1, 2, 5, 10, 20, 50, 100, 200, 500],
  ...[1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 43_200, 86_400, 604_800].map((each) => each * SECOND),
];

const CHARTS: readonly ChartSpec[] = [
  {
    name: "throughput",
    title: "Throughput",
    lines: [{ key: "throughput", label: "completed / min", colour: "series-1", fill: "series-1-fill" }],
    format: rate,
    top: 4,
    rules: { ALERT_METRIC_THROUGHPUT: 60 },
  },
  {
    name: "latency",
    title: "Latency",
    lines: [
      { key: "p50", label: "p50", colour: "series-1", fill: "series-1-fill" },
      { key: "p95", label: "p95", colour: "series-2" },
      { key: "p99", label: "p99", colour: "series-3" },
    ],
    format: durationText,
    steps: TIME_STEPS,
    top: 10,
    rules: { ALERT_METRIC_LATENCY_P50: 1000, ALERT_METRIC_LATENCY_P95: 1000, ALERT_METRIC_LATENCY_P99: 1000 },
  },
  {
    name: "error-rate",
    title: "Error rate",
    lines: [{ key: "errorRate", label: "failed", colour: "series-error", fill: "series-error-fill" }],
    format: (value) => `${rate(value)} %`,
    top: 5,
    ceiling: 100,
    rules: { ALERT_METRIC_ERROR_RATE: 100 },
  },
];

export function Charts(): JSX.Element {
  const hover = useSignal<number | undefined>(undefined);
  return (
    <div class="charts" role="group" aria-label="Charts" tabIndex={0}>
      {CHARTS.map((spec) => (
        <HistoryChart key={spec.name} spec={spec} hover={hover} />
      ))}
    </div>
  );
}

function HistoryChart({ spec, hover }: { readonly spec: ChartSpec; readonly hover: Signal<number | undefined> }): JSX.Element {
  const { history, alerts, route, theme, clock } = useStores();
  const { phase, columns, span, stepMs, problem, at } = history.view.value;
  const threshold = thresholdOf(alerts.rules.value, spec);
  const old = at !== undefined && route.range.value.kind === "last" && clock.now.value - at > 2 * Math.max(stepMs, 15_000);
  return (
    <section
      class={`panel chart ${old ? "stale" : ""}`}
      aria-label={spec.title}
      data-testid={`chart-${spec.name}`}
      data-phase={phase}
      data-points={columns?.time.length ?? 0}
      data-stale={old}
    >
      <header>
        <h2>{spec.title}</h2>
        <Legend spec={spec} columns={columns} index={hover.value} threshold={threshold} marks={alerts.marks.value} stepMs={stepMs} />
      </header>
      <div class="body">
        {columns === undefined || columns.time.length === 0 ? (
          <ChartNote phase={phase} problem={problem} fixed={route.range.value.kind === "fixed"} />
        ) : (
          <Chart
            time={columns.time}
            lines={spec.lines.map((line): ChartLine => ({ ...line, values: columns[line.key] }))}
            span={span}
            format={spec.format}
            top={spec.top}
            {...(spec.steps === undefined ? {} : { steps: spec.steps })}
            {...(spec.ceiling === undefined ? {} : { ceiling: spec.ceiling })}
            threshold={threshold}
            marks={alerts.marks.value}
            themeVersion={theme.version.value}
            at={hover}
            zoom={(zoomed: Span) => route.go({ range: { kind: "fixed", ...zoomed } })}
            reset={() => route.go({ range: DEFAULT_RANGE })}
          />
        )}
      </div>
      {phase === "error" && columns !== undefined ? (
        <Note tone="warning" bar>
          Not updated since {timeOfDay(at ?? span.to)}: {problem}
        </Note>
      ) : null}
    </section>
  );
}

function ChartNote({ phase, problem, fixed }: { readonly phase: string; readonly problem: string; readonly fixed: boolean }): JSX.Element {
  if (phase === "error") {
    return <Note tone="critical">History could not be read: {problem}. It is asked for again every few seconds.</Note>;
  }
  if (phase === "loading") {
    return <Note>Reading history…</Note>;
  }
  return (
    <Note>
      {fixed
        ? "Nothing is known about this time. Choose another range above."
        : "No history yet. The first step appears a few seconds after the first events."}
    </Note>
  );
}

interface LegendProps {
  readonly spec: ChartSpec;
  readonly columns: Columns | undefined;
  readonly index: number | undefined;
  readonly threshold: Threshold | undefined;
  readonly marks: readonly FiringMark[];
  readonly stepMs: number;
}

// Names the lines; under the crosshair it says their values there, and what fired.
function Legend({ spec, columns, index, threshold, marks, stepMs }: LegendProps): JSX.Element {
  const at = index === undefined ? undefined : columns?.time[index];
  const fired = at === undefined ? undefined : marks.find((mark) => mark.at >= at * 1000 && mark.at < at * 1000 + stepMs);
  return (
    <div class="aside legend" data-testid={`legend-${spec.name}`}>
      {fired === undefined ? null : <span class={`cut ${fired.critical ? "tone-critical" : "tone-warning"}`}>▲ {fired.words}</span>}
      {at === undefined ? null : <span class="weak">{timeOfDay(at * 1000)}</span>}
      {spec.lines.map((line) => (
        <span key={line.key} class="key">
          <i class={`swatch ${line.colour}`} />
          {at === undefined || index === undefined ? line.label : valueWords(columns?.[line.key], index, spec)}
        </span>
      ))}
      {threshold === undefined || at !== undefined ? null : (
        <span class="key" title={threshold.words}>
          <i class="swatch dashed" />
          <span class="cut">{threshold.words}</span>
        </span>
      )}
    </div>
  );
}

function valueWords(line: Line | undefined, index: number, spec: ChartSpec): string {
  const value = line?.[index];
  return value === null || value === undefined ? "no data" : spec.format(value);
}

// The first rule that compares the fleet as this chart shows it, and nothing else.
function thresholdOf(rules: readonly AlertRuleJson[] | undefined, spec: ChartSpec): Threshold | undefined {
  for (const { enabled, condition } of rules ?? []) {
    const found = condition?.threshold;
    const factor = found?.metric === undefined ? undefined : spec.rules[found.metric];
    const fleet = found?.dimension === undefined || found.dimension === "METRIC_DIMENSION_FLEET";
    if (enabled === true && found !== undefined && factor !== undefined && fleet) {
      const value = Number(found.threshold ?? 0) * factor;
      const over = jsonMs(found.window);
      const name = spec.lines.length > 1 ? `${found.metric?.split("_").at(-1)?.toLowerCase()} ` : "";
      return { value, words: `rule: ${name}${spec.format(value)}${over === 0 ? "" : `, ${durationText(over)}`}` };
    }
  }
  return undefined;
}
