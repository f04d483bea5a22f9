import type { MessageJsonType } from "@bufbuild/protobuf";
// What the Alerts page says and computes, without a browser.
import { describe, expect, it } from "vitest";
import { series } from "../src/alerts/series";
import { conditionWords, matcherWords, thresholdsOf, valueWords } from "../src/alerts/words";
import { durationInput, durationJson } from "../src/core/spans";
import { OF_ALERTS, completions } from "../src/core/filter";
import { HOME, formatRoute, moved, parseRoute } from "../src/core/route";
import { toTimestamp } from "../src/core/time";
import { MetricPointSchema } from "../src/gen/pilothouse/v1/metrics_pb";
import type { ConditionJson, ThresholdJson } from "../src/gen/pilothouse/v1/rules_pb";
import { bottomOf, timeTicks, valueTicks } from "../src/ui/scale";
import { sent } from "./fakes";

const errors: ThresholdJson = {
  ...{ metric: "ALERT_METRIC_ERROR_RATE", window: "300s", comparison: "COMPARISON_GREATER_THAN", threshold: 0.05, minSamples: "20" },
};
const queue: ThresholdJson = { metric: "ALERT_METRIC_QUEUE_DEPTH", comparison: "COMPARISON_GREATER_OR_EQUAL", threshold: 1_000 };

describe("rules in words", () => {
  it("say one comparison", () => expect(conditionWords({ threshold: errors })).toBe("Error rate over 5 min > 5 %, of at least 20"));

  it("say groups in groups", () => {
    const condition: ConditionJson = {
      all: { conditions: [{ threshold: queue }, { any: { conditions: [{ threshold: errors }, { threshold: queue }] } }] },
    };
    expect(conditionWords(condition)).toBe("Queue depth ≥ 1,000 and (Error rate over 5 min > 5 %, of at least 20 or Queue depth ≥ 1,000)");
    expect(thresholdsOf(condition)).toEqual([queue, errors, queue]);
  });

  it("say of what, and the band", () => {
    const threshold: ThresholdJson = {
      ...{ metric: "ALERT_METRIC_LATENCY_P95", dimension: "METRIC_DIMENSION_STAGE", window: "60s", comparison: "COMPARISON_GREATER_THAN" },
      ...{ threshold: 0.5, recoveryThreshold: 0.4, matchers: [{ name: "stage", type: "MATCH_TYPE_REGEX", value: "test.*" }] },
    };
    expect(conditionWords({ threshold })).toBe('Latency p95 of each stage {stage=~"test.*"} over 1 min > 500 ms, until 400 ms');
  });

  it.each([
    ["ALERT_METRIC_ERROR_RATE", 0.57, "57 %"],
    ["ALERT_METRIC_SUCCESS_RATE", 0.995, "99.5 %"],
    ["ALERT_METRIC_LATENCY_P95", 12.8, "12.8 s"],
    ["ALERT_METRIC_THROUGHPUT", 0.25, "0.25/s"],
    ["ALERT_METRIC_QUEUE_DEPTH", 1042, "1,042"],
    ["ALERT_METRIC_AGENT_SILENCE", 120, "2 min"],
  ] as const)("%s %d is %s", (metric, value, words) => expect(valueWords(metric, value)).toBe(words));

  it("escape what is matched", () => expect(matcherWords([{ name: "a", type: "MATCH_TYPE_NOT_EQUAL", value: 'x"y' }])).toBe('a!="x\\"y"'));
});

describe("durations in fields", () => {
  it.each([
    ["1h30m", "5400s"],
    ["5 min", "300s"],
    ["90", "90s"],
    ["250ms", "0.25s"],
    ["2d", "172800s"],
    ["soon", undefined],
    ["5m or so", undefined],
    ["", undefined],
  ])("%s is %s", (text, json) => expect(durationJson(text)).toBe(json));

  it.each([
    ["5400s", "1h30m"],
    ["0s", ""],
    [undefined, ""],
    ["0.25s", "250ms"],
  ])("%s is written %s", (json, text) => expect(durationInput(json)).toBe(text));
});

describe("the evidence of an alert", () => {
  const point = (at: number, init: MessageJsonType<typeof MetricPointSchema>) =>
    sent(MetricPointSchema, { startTime: toTimestamp(at), ...init });
  const points = [0, 60_000, 120_000, 240_000].map((at, index) => point(at, { completed: "3", failed: String(index) }));

  it("adds up the rule's whole window, and leaves holes", () => {
    const made = series(points, 60_000, { ...errors, window: "120s" }, 60_000);
    expect(made.time).toEqual([60, 120, 180, 240]);
    expect(made.values).toEqual([1 / 7, 3 / 9, null, 3 / 6]);
  });

  it("has no value where nothing ended", () => {
    expect(series([point(0, {})], 60_000, errors, 0).values).toEqual([null]);
    expect(series([point(0, {})], 60_000, queue, 0).values).toEqual([null]);
  });
});

describe("the URL of a tab", () => {
  it("restores tab, filter and what is open", () => {
    const route = { ...HOME, page: "alerts", tab: "rules", filter: "severity = WARNING", open: ":new" } as const;
    expect(parseRoute(formatRoute(route))).toEqual(route);
    expect(parseRoute("#/workflows?tab=rules").tab).toBe("");
    expect(parseRoute("#/alerts?tab=nonsense").tab).toBe("");
  });

  it("closes what is open on another tab, and drops a filter of alerts on another page", () => {
    const route = { ...HOME, page: "alerts", tab: "rules", filter: "x", open: "error-rate" } as const;
    expect(moved(route, { tab: "silences" })).toMatchObject({ tab: "silences", open: "", filter: "x" });
    expect(moved(route, { tab: "silences", open: ":new" }).open).toBe(":new");
    expect(moved(route, { page: "workflows" })).toMatchObject({ tab: "", open: "", filter: "" });
    expect(moved({ ...HOME, filter: "login" }, { page: "workflows" }).filter).toBe("login");
  });
});

describe("the filter of alerts", () => {
  it("completes fields, operators and values", () => {
    expect(completions("sev", OF_ALERTS)).toEqual(["severity"]);
    expect(completions("severity >= CR", OF_ALERTS)).toEqual(["severity >= CRITICAL"]);
    expect(completions("labels.agent_id ", OF_ALERTS)).toEqual(["labels.agent_id =", "labels.agent_id !="]);
    expect(completions("silenced = ", OF_ALERTS)).toEqual(["silenced = true", "silenced = false"]);
  });
});

describe("the axes of a chart", () => {
  it("count in round values", () => {
    expect(valueTicks(0, 10, 150)).toEqual([0, 2.5, 5, 7.5, 10]);
    expect(valueTicks(0, 0.3, 110)).toEqual([0, 0.1, 0.2, 0.3]);
    expect(valueTicks(0, 25_000, 130, [1_000, 5_000, 10_000])).toEqual([0, 10_000, 20_000]);
    expect(valueTicks(97, 100, 140)).toEqual([97, 98, 99, 100]);
    expect(valueTicks(0, 0, 100).length).toBeLessThan(50);
  });

  it("count in whole minutes and hours", () => {
    const from = Date.UTC(2026, 0, 1, 12, 3, 20);
    const minutes = timeTicks({ from, to: from + 900_000 }, 300);
    expect(minutes.map((at) => (at / 60_000) % 5)).toEqual([0, 0, 0]);
    expect(timeTicks({ from, to: from + 7 * 86_400_000 }, 300).length).toBeLessThan(6);
  });

  it("begin below what is near the top", () => {
    const scale = { top: 100, threshold: { value: 99.5, words: "" }, fromLowest: true };
    expect(bottomOf(scale, 98)).toBe(97);
    expect(bottomOf({ ...scale, fromLowest: false }, 98)).toBe(0);
  });
});
