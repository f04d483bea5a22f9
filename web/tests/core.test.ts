import { describe, expect, it } from "vitest";
import { offsetOf, sampleOneWay, sampleRoundTrip } from "../src/core/clock";
import { completions, isPlain, matchesWords, withState } from "../src/core/filter";
import { age, count, durationText, exactTime, percent, rate, sentence, signed, when } from "../src/core/format";
import { columns, mergePoints, spanOf, stepFor } from "../src/core/history";
import { narrate, spansOf } from "../src/core/narrative";
import { DEFAULT_RANGE, HOME, formatRoute, parseRoute } from "../src/core/route";
import { durationMs, timestampMs, toDuration, toTimestamp } from "../src/core/time";
import { judge, pointBefore } from "../src/core/trend";
import { isAtEnd, listWindow } from "../src/core/windowing";
import { cliLine, gravity, nameOf, workflowLook } from "../src/core/words";
import { EventSchema } from "../src/gen/pilothouse/v1/events_pb";
import { MetricPointSchema } from "../src/gen/pilothouse/v1/metrics_pb";
import { topOf, lonely } from "../src/ui/scale";
import { sparkPath } from "../src/ui/spark";
import type { EventType, MetricPoint, WorkflowState } from "../src/core/wire";
import { sent } from "./fakes";

describe("numbers for people", () => {
  it.each([
    [0, "0 ms"],
    [0.4, "<1 ms"],
    [412, "412 ms"],
    [999.4, "999 ms"],
    [999.6, "1 s"],
    [1_203, "1.2 s"],
    [59_940, "59.9 s"],
    [59_960, "1 min"],
    [192_000, "3 min 12 s"],
    [3_599_900, "1 h"],
    [7_500_000, "2 h 5 min"],
    [273_600_000, "3 d 4 h"],
    [-5, "0 ms"],
  ])("%d ms is %s", (ms, text) => expect(durationText(ms)).toBe(text));

  it.each([
    [400, "0.4 s"],
    [12_400, "12 s"],
    [192_000, "3 min"],
    [7_200_000, "2 h"],
    [260_000_000, "3 d"],
  ])("%d ms ago is %s", (ms, text) => expect(age(ms)).toBe(text));

  it("groups thousands", () => expect([count(1_284), count(12_042)]).toEqual(["1,284", "12,042"]));
  it("keeps a tenth where it matters", () => expect([rate(86.44), rate(312.4), rate(7)]).toEqual(["86.4", "312", "7"]));
  it("never rounds almost all to all, nor almost none to none", () =>
    expect([percent(0.9999), percent(1), percent(0.0001), percent(0), percent(0.991)]).toEqual(["99.9", "100", "0.1", "0", "99.1"]));
  it("signs a change, and says when there is none", () =>
    expect([signed(38, count), signed(-3, count), signed(0.01, rate)]).toEqual(["+38", "−3", "±0"]));
  it("gives the zone with an exact time", () =>
    expect(exactTime(Date.UTC(2026, 10, 22, 12, 0, 0, 123))).toMatch(/^2026-11-2\d \d\d:\d\d:00\.123 UTC/));
  it("reads names as words", () => expect(sentence("WORKFLOW_STARTED")).toBe("Workflow started"));
});

describe("a time", () => {
  const noon = new Date(2026, 10, 22, 12).getTime();
  it("of today is the time alone", () => expect(when(noon - 60_000, noon)).toBe("11:59:00"));
  it("of another day says the day", () => expect(when(noon - 86_400_000, noon)).toBe("11-21 12:00"));
});

describe("what comes over the wire", () => {
  it("has times to the microsecond, or to the second", () =>
    expect(["1970-01-01T00:00:01.234567Z", "1970-01-01T00:00:02Z", undefined].map(timestampMs)).toEqual([1_234, 2_000, undefined]));
  it("has durations in seconds", () => expect(["0.000250s", "90s"].map((each) => durationMs(each))).toEqual([0.25, 90_000]));
  it("takes the times that this page sends", () =>
    expect([toTimestamp(1_500), toDuration(1_500)]).toEqual(["1970-01-01T00:00:01.500Z", "1.5s"]));
  it("has severities in an order of their own", () =>
    expect(gravity("SEVERITY_CRITICAL") > gravity("SEVERITY_ERROR") && gravity("SEVERITY_ERROR") > gravity("SEVERITY_WARNING")).toBe(true));
  it("has names that are longer than their words", () => expect(nameOf("WORK_STATE_RETRYING", "WORK_STATE")).toBe("RETRYING"));
});

describe("the server's clock", () => {
  it("is estimated between the bounds of round trips", () => {
    const first = sampleRoundTrip(undefined, 1_000, 1_400, 61_200);
    const second = sampleRoundTrip(first, 2_000, 2_020, 62_010);
    expect(offsetOf(second)).toBe(60_000);
  });

  it("is not pulled back by a slow round trip", () => {
    const fast = sampleRoundTrip(undefined, 1_000, 1_010, 61_005);
    expect(offsetOf(sampleRoundTrip(fast, 2_000, 4_000, 62_050))).toBeCloseTo(60_000, -1);
  });

  it("starts again when a clock was set", () => {
    const before = sampleRoundTrip(undefined, 1_000, 1_010, 61_005);
    expect(offsetOf(sampleRoundTrip(before, 90_000, 90_010, 90_005))).toBe(0);
  });

  it("is not disturbed by a frame that was made long ago", () => {
    const known = sampleRoundTrip(undefined, 1_000, 1_010, 61_005);
    expect(sampleOneWay(known, 2_000, 2_000 + 60_000 - 180_000)).toBe(known);
  });

  it("is used from the first frame on", () => expect(offsetOf(sampleOneWay(undefined, 1_000, 61_000))).toBe(60_000));
  it("is taken to be the browser's while nothing is known", () => expect(offsetOf(undefined)).toBe(0));
});

describe("the URL", () => {
  it("says nothing about what is as usual", () => expect(formatRoute(HOME)).toBe("#/monitoring"));

  it("restores the view that made it", () => {
    const route = {
      page: "workflows",
      tab: "",
      range: { kind: "fixed", from: 1_000, to: 90_000 },
      filter: 'state = RUNNING AND name = "a&b #1"',
      state: "failed",
      open: "wf/1?x",
      span: "stage:build:1",
      zoom: "12.5-80.001",
      order: "duration desc",
    } as const;
    expect(parseRoute(formatRoute(route))).toEqual(route);
  });

  it.each([
    "",
    "#",
    "#/nowhere",
    "#/monitoring?range=soon",
    "#/monitoring?from=9&to=1",
    "#/monitoring?state=exploded",
    "#/%E0%A4%A",
    "#?from=1&to=1e300",
    "#?zoom=9-1&order=name;drop",
  ])("opens something sensible for %j", (fragment) => {
    expect(parseRoute(fragment)).toMatchObject({ page: "monitoring", range: DEFAULT_RANGE, state: "", zoom: "", order: "" });
  });
});

describe("the filter", () => {
  it.each([
    ["st", ["state", "stage", "start_time"]],
    ["state ", ["state =", "state !="]],
    ["state = R", ["state = RUNNING"]],
    ["state = RUNNING A", ["state = RUNNING AND"]],
    ["(state = FAILED AND ty", ["(state = FAILED AND type"]],
    ["attempt >", ["attempt >="]],
    ["type = f", []],
    ["two plain words", []],
  ])("completes %s", (text, expected) => expect(completions(text)).toEqual(expected));
  it("joins the chip to what is typed without changing its meaning", () =>
    expect(withState("a OR b", "running")).toBe("(a OR b) AND state = RUNNING"));
  it("is the chip alone when nothing is typed", () => expect(withState("  ", "failed")).toBe("state = FAILED"));
  it("knows words from grammar", () =>
    expect([isPlain("check out"), isPlain("a AND b"), isPlain("state=RUNNING"), isPlain("Android")]).toEqual([true, false, false, true]));
  it("finds rows that have every word", () =>
    expect([matchesWords("CHECK bug", ["checkout-api", "bugfix"]), matchesWords("check zzz", ["checkout-api"])]).toEqual([true, false]));
});

describe("history", () => {
  const point = (start: number, completed: number): MetricPoint =>
    sent(MetricPointSchema, {
      startTime: toTimestamp(start),
      completed: String(completed),
      throughput: completed / 5,
      latency: { count: "1", p50: toDuration(200) },
    });
  const map = (...points: MetricPoint[]) => mergePoints(new Map(), points, 0);

  it("shows a step that was left out as a hole in every line", () => {
    const result = columns(map(point(0, 5), point(5_000, 5), point(15_000, 10)), 5_000, 99_000);
    expect(result.time).toEqual([0, 5, 10, 15]);
    expect(result.throughput).toEqual([60, 60, null, 120]);
    expect(result.p50).toEqual([200, 200, null, 200]);
  });

  it("does not call what is absent zero", () =>
    expect(columns(map(point(0, 0)), 5_000, 9_000)).toMatchObject({ errorRate: [null], running: [null], throughput: [0] }));
  it("leaves out the step that has not ended", () => expect(columns(map(point(0, 5), point(5_000, 1)), 5_000, 9_999).time).toEqual([0]));

  it("takes the newer answer for a step and forgets what is out of range", () => {
    const merged = mergePoints(map(point(0, 1), point(5_000, 2)), [point(5_000, 3), point(10_000, 4)], 5_000);
    expect([...merged].map(([start, each]) => [start, Number(each.completed)])).toEqual([
      [5_000, 3],
      [10_000, 4],
    ]);
  });

  it("asks for steps that fit the range", () =>
    expect([300_000, 900_000, 3_600_000, 86_400_000, 30 * 86_400_000].map(stepFor)).toEqual([5_000, 15_000, 60_000, 900_000, 25_920_000]));
  it("ends at now or where it was fixed", () =>
    expect([spanOf(DEFAULT_RANGE, 1e9), spanOf({ kind: "fixed", from: 1, to: 2 }, 1e9)]).toEqual([
      { from: 1e9 - 900_000, to: 1e9 },
      { from: 1, to: 2 },
    ]));

  it("compares with the newest whole step that ended before the present window", () => {
    const points = [0, 300_000, 600_000, 900_000].map((start) => point(start, 1));
    expect(timestampMs(pointBefore(points, 300_000, 1_000_000)?.startTime)).toBe(300_000);
  });

  it("compares with nothing when that step is missing", () => expect(pointBefore([point(0, 1)], 300_000, 2_000_000)).toBeUndefined());
  it("judges a change by what is better", () =>
    expect([judge(5, "up", 0), judge(5, "down", 0), judge(0.01, "up", 0.02), judge(5, "none", 0)]).toEqual([
      "better",
      "worse",
      "neutral",
      "neutral",
    ]));
});

describe("the window of a list", () => {
  it("draws what is in view and a little more", () => expect(listWindow(2_400, 240, 24, 100_000)).toEqual({ first: 96, end: 114 }));
  it("draws nothing of nothing", () => expect(listWindow(50, 240, 24, 0)).toEqual({ first: 0, end: 0 }));
  it("survives a place beyond the end", () => expect(listWindow(1e9, 240, 24, 100)).toEqual({ first: 86, end: 100 }));
  it("knows the end, give or take half a row", () =>
    expect([isAtEnd(2_150, 240, 24, 100), isAtEnd(2_100, 240, 24, 100)]).toEqual([true, false]));
});

describe("charts", () => {
  it("draw a line through what is known only", () =>
    expect(sparkPath([1, 2, null, 4, 3], 40, 20)).toBe("M0.0 18.5L10.0 12.8M30.0 1.5L40.0 7.2"));
  it("draw no line of one value", () => expect(sparkPath([null, 2])).toBe(""));
  it("show a value between two holes", () => expect(lonely([1, null, 2, null, 3, 4])).toEqual([0, 2]));

  it("make room for a threshold unless that would press the data flat", () => {
    const threshold = (value: number) => ({ value, words: "" });
    expect(topOf({ top: 10, threshold: threshold(120) }, 100)).toBe(144);
    expect(topOf({ top: 10, threshold: threshold(1_000) }, 100)).toBeCloseTo(112);
    expect(topOf({ top: 5, ceiling: 100, threshold: undefined }, 100)).toBe(100);
  });
});

describe("words", () => {
  it("make a command line that a shell takes as meant", () =>
    expect(cliLine("pause", "wf 1", "don't $(rm -rf)")).toBe(`pilothouse workflows pause 'wf 1' --reason='don'\\''t $(rm -rf)'`));
  it("do not let an id pass for an option", () => expect(cliLine("cancel", "--all", "")).toBe("pilothouse workflows cancel -- --all"));
  it("call a state that is newer than this page unknown", () => expect(workflowLook(99 as unknown as WorkflowState).word).toBe("Unknown"));

  it("tell an event in one line", () => {
    const event = sent(EventSchema, { type: "EVENT_TYPE_STAGE_COMPLETED", stage: "validation", workflowId: "wf-1", message: "214 passed" });
    expect(narrate(event)).toMatchObject({
      title: "Stage completed",
      rest: "validation · 214 passed",
      id: "wf-1",
      tone: "good",
      big: false,
    });
  });

  it("let severity outweigh the type", () =>
    expect(narrate(sent(EventSchema, { type: "EVENT_TYPE_STAGE_COMPLETED", severity: "SEVERITY_ERROR" })).tone).toBe("critical"));
  it.each<[EventType, number, string, string]>([
    ["EVENT_TYPE_TASK_FAILED", 2, "task:build/1:2", "stage:build"],
    ["EVENT_TYPE_TASK_RETRYING", 2, "task:build/1:1", "stage:build"],
    ["EVENT_TYPE_TASK_STARTED", 0, "task:build/1", "stage:build"],
    ["EVENT_TYPE_STAGE_FAILED", 3, "task:build/1", "stage:build:3"],
  ])("knows the spans of %s, attempt %d", (type, attempt, task, stage) =>
    expect(spansOf(sent(EventSchema, { type, attempt, workflowId: "w", taskId: "build/1", stage: "build" }))).toMatchObject({
      task,
      stage,
    }),
  );

  it("tell an event whose type is newer than this page", () =>
    expect(narrate(sent(EventSchema, { type: 99 as unknown as EventType })).title).toBe("Type 99"));
});
