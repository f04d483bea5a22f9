import { describe, expect, it } from "vitest";
import { FrameBatch } from "../src/live/batching";
import { CallError, problemWords, refusal } from "../src/live/call";
import { Poller } from "../src/live/poller";
import { judgeFrame } from "../src/live/positions";
import { AgentSchema } from "../src/gen/pilothouse/v1/agents_pb";
import { LiveGapSchema, LiveProgressSchema } from "../src/gen/pilothouse/v1/live_pb";
import { MetricsSnapshotSchema } from "../src/gen/pilothouse/v1/metrics_pb";
import { WorkflowSchema } from "../src/gen/pilothouse/v1/workflows_pb";
import { FakeTime, frame, sent } from "./fakes";

const at = (sequence: number, epoch = "e") => ({ epoch, sequence });
const workflow = { type: "workflows:update", data: sent(WorkflowSchema, {}) } as const;

describe("a place in a channel", () => {
  it("moves with each change", () => {
    expect(judgeFrame(at(1), frame({ channel: "workflows:changes", ...at(2), ...workflow }))).toEqual({
      verdict: "apply",
      place: at(2),
    });
  });

  it("is replaced by a snapshot, even one that is behind", () => {
    const snapshot = frame({ channel: "alerts:active", ...at(3, "f"), type: "alerts:snapshot", data: {} });
    expect(judgeFrame(at(9), snapshot)).toEqual({ verdict: "apply", place: at(3, "f") });
  });

  it("goes to the end of a gap", () => {
    const gap = frame({ channel: "events:live", ...at(8), type: "gap", data: sent(LiveGapSchema, { fromSequence: "3", toSequence: "8" }) });
    expect(judgeFrame(at(2), gap)).toEqual({ verdict: "apply", place: at(8) });
  });

  it("is lost when another history begins without a word", () => {
    expect(
      judgeFrame(at(4), frame({ channel: "agents:changes", ...at(5, "f"), type: "agents:update", data: sent(AgentSchema, {}) })).verdict,
    ).toBe("resync");
  });

  it("may jump where only the newest counts", () => {
    const metrics = frame({ channel: "metrics:fleet", ...at(50), type: "metrics:update", data: sent(MetricsSnapshotSchema, {}) });
    expect(judgeFrame(at(4), metrics)).toEqual({ verdict: "apply", place: at(50) });
  });

  it("stays where it is when nothing is new", () => {
    const progress = frame({ channel: "events:live", ...at(4), type: "progress", data: sent(LiveProgressSchema, {}) });
    expect(judgeFrame(at(4), progress)).toEqual({ verdict: "apply", place: at(4) });
  });
});

describe("batching", () => {
  it("applies what came once for each frame of the screen", () => {
    const runs: (() => void)[] = [];
    const applied: (readonly number[])[] = [];
    const batch = new FrameBatch<number>({ hidden: () => false, nextFrame: (run) => runs.push(run), after: () => undefined }, (items) =>
      applied.push(items),
    );
    [1, 2, 3].forEach((each) => batch.add(each));
    expect(runs).toHaveLength(1);
    runs[0]?.();
    expect(applied).toEqual([[1, 2, 3]]);
  });

  it("uses a timer while the page is hidden, and goes on after it was hidden in between", () => {
    const time = new FakeTime();
    let hidden = false;
    const applied: (readonly number[])[] = [];
    const batch = new FrameBatch<number>(
      { hidden: () => hidden, nextFrame: () => undefined, after: (ms, run) => time.after(ms, run) },
      (items) => applied.push(items),
    );
    batch.add(1);
    hidden = true;
    batch.flush();
    batch.add(2);
    time.advance(1_000);
    expect(applied).toEqual([[1], [2]]);
  });

  it("never lets more wait than its bound", () => {
    let applied = 0;
    const batch = new FrameBatch<number>(
      { hidden: () => false, nextFrame: () => undefined, after: () => undefined },
      (items) => (applied += items.length),
    );
    for (let index = 0; index < 5_000; index++) {
      batch.add(index);
    }
    expect(applied).toBe(4_000);
  });
});

describe("polling", () => {
  it("asks one round at a time and rests in between", async () => {
    const time = new FakeTime();
    let rounds = 0;
    const poller = new Poller(time, async () => void rounds++, 2_000);
    poller.start();
    poller.start();
    await Promise.resolve();
    expect(rounds).toBe(1);
    time.advance(2_000);
    await Promise.resolve();
    expect(rounds).toBe(2);
    poller.stop();
    time.advance(10_000);
    expect(rounds).toBe(2);
  });
});

describe("a refusal", () => {
  it("carries the server's reason and words", () => {
    const body = {
      code: "FAILED_PRECONDITION",
      message: "a completed workflow cannot be paused",
      reason: "ILLEGAL_TRANSITION",
      metadata: { state: "COMPLETED" },
      violations: [],
    };
    expect(refusal(409, JSON.stringify(body))).toMatchObject({
      code: "FAILED_PRECONDITION",
      reason: "ILLEGAL_TRANSITION",
      metadata: { state: "COMPLETED" },
    });
  });

  it("names the field that breaks a rule", () => {
    const body = { code: "INVALID_ARGUMENT", message: "not valid", violations: [{ field: "filter", description: "too long" }] };
    expect(problemWords(refusal(400, JSON.stringify(body)))).toBe("not valid (filter: too long)");
  });

  it.each(["", "<html>", "null", "[1]", '{"message":3,"metadata":[],"violations":"x"}'])("is still one when the answer is %j", (text) => {
    const error = refusal(502, text);
    expect(error).toBeInstanceOf(CallError);
    expect(error.code).toBe("HTTP_502");
    expect(error.message).not.toBe("");
  });
});
