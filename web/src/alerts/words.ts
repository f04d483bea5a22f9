// Rules, matchers and times in words, and the units in which people write what rules hold in seconds and shares. Pure.
import { count, durationText, rate } from "../core/format";
import { exact } from "../core/spans";
import { jsonMs } from "../core/time";
import type { MatchTypeJson, MatcherJson } from "../gen/pilothouse/v1/matchers_pb";
import type { MetricDimensionJson } from "../gen/pilothouse/v1/metrics_pb";
import type { AlertMetricJson, ComparisonJson, ConditionJson, NoDataPolicyJson, ThresholdJson } from "../gen/pilothouse/v1/rules_pb";

export interface MetricWords {
  readonly metric: AlertMetricJson;
  readonly label: string;
  readonly unit: string;
  // What turns the contract's unit into the one that people write.
  readonly factor: number;
  readonly windowed: boolean;
  // What a sensible first draft compares with.
  readonly comparison: ComparisonJson;
  readonly threshold: number;
}

const ABOVE = "COMPARISON_GREATER_THAN";
const latency = (metric: AlertMetricJson, name: string): MetricWords => ({
  ...{ metric, label: `Latency ${name}`, unit: "ms", factor: 1000, windowed: true, comparison: ABOVE, threshold: 0.5 },
});

export const METRICS: readonly MetricWords[] = [
  latency("ALERT_METRIC_LATENCY_P50", "p50"),
  latency("ALERT_METRIC_LATENCY_P95", "p95"),
  latency("ALERT_METRIC_LATENCY_P99", "p99"),
  { metric: "ALERT_METRIC_ERROR_RATE", label: "Error rate", unit: "%", factor: 100, windowed: true, comparison: ABOVE, threshold: 0.05 },
  {
    ...{ metric: "ALERT_METRIC_SUCCESS_RATE", label: "Success rate", unit: "%", factor: 100, windowed: true },
    ...{ comparison: "COMPARISON_LESS_THAN", threshold: 0.995 },
  },
  {
    ...{ metric: "ALERT_METRIC_THROUGHPUT", label: "Throughput", unit: "per second", factor: 1, windowed: true },
    ...{ comparison: "COMPARISON_LESS_THAN", threshold: 0.1 },
  },
  {
    metric: "ALERT_METRIC_QUEUE_DEPTH",
    label: "Queue depth",
    unit: "waiting",
    factor: 1,
    windowed: false,
    comparison: ABOVE,
    threshold: 100,
  },
  {
    ...{ metric: "ALERT_METRIC_AGENT_SILENCE", label: "Agent silence", unit: "s", factor: 1, windowed: false },
    ...{ comparison: "COMPARISON_GREATER_OR_EQUAL", threshold: 120 },
  },
] as readonly MetricWords[];

const UNKNOWN: MetricWords = { ...latency("ALERT_METRIC_UNSPECIFIED", ""), label: "An unknown metric", unit: "", factor: 1 };

export function metricOf(metric: AlertMetricJson | undefined): MetricWords {
  return METRICS.find((each) => each.metric === metric) ?? UNKNOWN;
}

export const COMPARISONS: readonly (readonly [ComparisonJson, string])[] = [
  ["COMPARISON_GREATER_THAN", ">"],
  ["COMPARISON_GREATER_OR_EQUAL", "≥"],
  ["COMPARISON_LESS_THAN", "<"],
  ["COMPARISON_LESS_OR_EQUAL", "≤"],
];

export const DIMENSIONS: readonly (readonly [MetricDimensionJson, string, string])[] = [
  ["METRIC_DIMENSION_FLEET", "the fleet", ""],
  ["METRIC_DIMENSION_WORKFLOW_TYPE", "each workflow type", "workflow_type"],
  ["METRIC_DIMENSION_STAGE", "each stage", "stage"],
  ["METRIC_DIMENSION_AGENT_TYPE", "each agent type", "agent_type"],
  ["METRIC_DIMENSION_AGENT", "each agent", "agent_id"],
];

export const WINDOWS: readonly (readonly [string, string])[] = [
  ["60s", "1 min"],
  ["300s", "5 min"],
  ["900s", "15 min"],
  ["3600s", "1 h"],
];

export const NO_DATA: readonly (readonly [NoDataPolicyJson, string])[] = [
  ["NO_DATA_POLICY_KEEP", "stay as it is"],
  ["NO_DATA_POLICY_ALERT", "raise an alert of its own"],
  ["NO_DATA_POLICY_RESOLVE", "count as fine"],
];

export const MATCH_TYPES: readonly (readonly [MatchTypeJson, string])[] = [
  ["MATCH_TYPE_EQUAL", "="],
  ["MATCH_TYPE_NOT_EQUAL", "!="],
  ["MATCH_TYPE_REGEX", "=~"],
  ["MATCH_TYPE_NOT_REGEX", "!~"],
];

export function dimensionOf(threshold: ThresholdJson): MetricDimensionJson {
  const own = threshold.metric === "ALERT_METRIC_AGENT_SILENCE" ? "METRIC_DIMENSION_AGENT" : "METRIC_DIMENSION_FLEET";
  return threshold.dimension ?? own;
}

// The value as its metric is read: `620 ms`, `5.2 %`, `1,042`.
export function valueWords(metric: AlertMetricJson | undefined, value: number): string {
  const { unit, factor } = metricOf(metric);
  const shown = exact(value * factor);
  switch (unit) {
    case "ms":
      return durationText(shown);
    case "s":
      return durationText(value * 1000);
    case "%":
      return `${Math.abs(shown) >= 10 ? Number(shown.toFixed(2)) : Number(shown.toPrecision(3))} %`;
    case "per second":
      return `${Number(shown.toPrecision(3))}/s`;
    default:
      return shown >= 1000 ? count(shown) : rate(shown);
  }
}

export function thresholdWords(threshold: ThresholdJson): string {
  const { metric, comparison, matchers = [], window, minSamples } = threshold;
  const words = metricOf(metric);
  const scope = DIMENSIONS.find(([each]) => each === dimensionOf(threshold));
  const of = scope === undefined || scope[2] === "" ? "" : ` of ${scope[1]}`;
  const sign = COMPARISONS.find(([each]) => each === comparison)?.[1] ?? "?";
  const value = valueWords(metric, Number(threshold.threshold ?? 0));
  return [
    words.label + of,
    matchers.length === 0 ? "" : ` {${matcherWords(matchers)}}`,
    words.windowed && window !== undefined ? ` over ${durationText(jsonMs(window))}` : "",
    ` ${sign} ${value}`,
    minSamples === undefined || minSamples === "0" ? "" : `, of at least ${minSamples}`,
    threshold.recoveryThreshold === undefined ? "" : `, until ${valueWords(metric, Number(threshold.recoveryThreshold))}`,
  ].join("");
}

export function conditionWords(condition: ConditionJson | undefined, inner = false): string {
  const group = condition?.all ?? condition?.any;
  if (group !== undefined) {
    const words = (group.conditions ?? []).map((each) => conditionWords(each, true)).join(condition?.all === undefined ? " or " : " and ");
    return inner ? `(${words})` : words;
  }
  return condition?.threshold === undefined ? "nothing" : thresholdWords(condition.threshold);
}

// The comparisons of the tree, in its order: evidence and backtests count them so.
export function thresholdsOf(condition: ConditionJson | undefined): readonly ThresholdJson[] {
  const group = condition?.all ?? condition?.any;
  return group !== undefined
    ? (group.conditions ?? []).flatMap((each) => thresholdsOf(each))
    : condition?.threshold === undefined
      ? []
      : [condition.threshold];
}

export function matcherWords(matchers: readonly MatcherJson[]): string {
  const sign = (type: MatchTypeJson | undefined): string => MATCH_TYPES.find(([each]) => each === type)?.[1] ?? "=";
  return matchers.map((each) => `${each.name ?? ""}${sign(each.type)}${JSON.stringify(each.value ?? "")}`).join(", ");
}
