import { describe, expect, it } from "vitest";
import { durationText } from "../src/core/format";
import { HOME, formatRoute, moved, parseRoute } from "../src/core/route";
import { AnalyzeTraceResponseSchema } from "../src/gen/pilothouse/v1/trace_analysis_pb";
import { SpanSchema, TraceSchema } from "../src/gen/pilothouse/v1/traces_pb";
import type { SpanJson } from "../src/gen/pilothouse/v1/traces_pb";
import { Board } from "../src/traces/board";
import { density } from "../src/traces/density";
import { type Pen, ROW, type Scene, drawGantt } from "../src/traces/draw";
import { listFilter } from "../src/traces/list";
import { nextSpan, pathOf, stepsFrom } from "../src/traces/path";
import { pointsOf } from "../src/traces/scatter";
import { type Tree, arrange, hasChildren, rowOfEach, spanNamed, visibleRows } from "../src/traces/tree";
import { around, offsetText, panned, zoomed } from "../src/traces/window";
import type { Span } from "../src/traces/wire";
import { MEDIAN, joined, parted, spanWords } from "../src/traces/words";
import { sent } from "./fakes";

const span = (spanId: string, parentSpanId: string, from: number, to: number | undefined, more: Partial<SpanJson> = {}): Span =>
  sent(SpanSchema, {
    ...{ spanId, parentSpanId, name: spanId, kind: "SPAN_KIND_TASK", state: "WORK_STATE_COMPLETED" },
    startOffset: `${from / 1000}s`,
    ...(to === undefined ? {} : { endOffset: `${to / 1000}s` }),
    ...more,
  });

const FEW = [
  span("root", "", 0, 1_000, { kind: "SPAN_KIND_WORKFLOW" }),
  span("build", "root", 0, 400, { kind: "SPAN_KIND_STAGE" }),
  span("lint", "build", 0, 100),
  span("compile", "build", 50, 400),
  span("test", "root", 400, 1_000, { kind: "SPAN_KIND_STAGE" }),
  span("unit", "test", 410, 1_000, { state: "WORK_STATE_FAILED", error: { code: "BROKEN", message: "2 tests failed" } }),
];
const ids = (tree: Tree, rows: Int32Array = visibleRows(tree, new Set())): string =>
  [...rows].map((at) => tree.spans[at]?.spanId).join(" ");

// The same sequence in every run.
function* chance(seed: number): Generator<number> {
  for (let value = seed; ; yield value / 2_147_483_647) {
    value = (value * 48_271) % 2_147_483_647;
  }
}

function many(size: number): Span[] {
  const random = chance(7);
  const next = (): number => random.next().value as number;
  const base = span("0", "", 0, size);
  return Array.from({ length: size }, (_each, index) => {
    const from = Math.floor(next() * size);
    const more = { spanId: String(index), startOffset: `${from / 1000}s`, endOffset: `${(from + next() * 900) / 1000}s` };
    return index === 0 ? base : { ...base, ...more, parentSpanId: String(Math.floor((index - 1) / 12)) };
  });
}

describe("spans as a tree", () => {
  it("stand each after the one above it, siblings by their beginning, in whatever order they came", () => {
    const expected = "root build lint compile test unit";
    expect(ids(arrange(FEW))).toBe(expected);
    expect(ids(arrange(FEW.toReversed()))).toBe(expected);
    expect([...arrange(FEW).depth]).toEqual([0, 1, 2, 2, 1, 2]);
    expect([...arrange(FEW).last]).toEqual([6, 4, 3, 4, 6, 6]);
  });

  it("without what is folded, for which the row of what it is folded into stands", () => {
    const tree = arrange(FEW);
    const rows = visibleRows(tree, new Set(["build"]));
    expect(ids(tree, rows)).toBe("root build test unit");
    expect([...rowOfEach(tree, rows)]).toEqual([0, 1, 1, 1, 2, 3]);
  });

  it("are all there once, also where they name each other, or nobody that is known", () => {
    const odd = [span("a", "b", 0, 1), span("b", "a", 2, 3), span("c", "c", 4, 5), span("lost", "nobody", 1, 2), ...FEW];
    const tree = arrange(odd);
    expect(ids(tree).split(" ").sort()).toEqual(odd.map((each) => each.spanId).sort());
    expect(tree.depth.every((depth, at) => (depth === 0) === (tree.parent[at] ?? -1) < 0)).toBe(true);
  });

  it("may be as deep as they are many", () => {
    const chain = Array.from({ length: 50_000 }, (_each, index) => ({
      ...FEW[0]!,
      spanId: `${index}`,
      parentSpanId: index === 0 ? "" : `${index - 1}`,
    }));
    expect(arrange(chain).depth.at(-1)).toBe(49_999);
  });

  it("that run have no end", () => expect(arrange([span("a", "", 5, undefined)]).end[0]).toBe(Number.POSITIVE_INFINITY));
});

describe("the span that a link means", () => {
  const tree = arrange([
    ...[span("workflow", "", 0, 900), span("task:a:1", "workflow", 0, 100), span("task:a:2", "workflow", 200, 300)],
    ...[span("task:a:b:7", "workflow", 400, 500), span("span:00f0", "workflow", 600, 700)],
  ]);
  it.each([
    ["task:a:1", "task:a:1"],
    ["task:a", "task:a:2"],
    ["task:a:b", "task:a:b:7"],
    ["00f0", "span:00f0"],
    ["", ""],
    ["gone", "gone"],
  ])("of %j is %j", (said, meant) => expect(spanNamed(tree, said)).toBe(meant));
});

describe("the piece of time in view", () => {
  const full = { from: 0, to: 1_000 };

  it("keeps what is under the pointer where it is", () => {
    const view = zoomed(full, full, 0.5, 200);
    expect(view).toEqual({ from: 100, to: 600 });
    expect((200 - view.from) / (view.to - view.from)).toBeCloseTo(0.2);
  });

  it("never leaves the trace, nor gets shorter than the contract can tell", () => {
    expect(zoomed({ from: 0, to: 10 }, full, 1_000, 5)).toEqual(full);
    expect(panned({ from: 900, to: 1_000 }, full, 500)).toEqual({ from: 900, to: 1_000 });
    expect(panned({ from: 100, to: 200 }, full, -500)).toEqual({ from: 0, to: 100 });
    const least = zoomed(full, full, 1e-12, 500);
    expect(least.to - least.from).toBeCloseTo(0.02);
    expect(around(500, 500, full).to).toBeGreaterThan(500);
  });

  it.each([
    [0, 0.5, "0 ms"],
    [61_500, 500, "61.5 s"],
    [61_000, 1_000, "1 min 1 s"],
    [250, 50, "250 ms"],
    [0.25, 0.05, "0.25 ms"],
    [120_000, 60_000, "2 min"],
  ])("an offset of %d ms between labels %d ms apart is %s", (ms, step, text) => expect(offsetText(ms, step, durationText)).toBe(text));
});

describe("the strip with all of a trace", () => {
  it("counts the spans of each cell as looking at every one would", () => {
    const tree = arrange(many(300));
    const [width, height, to] = [40, 6, 1_300];
    const { count } = density(tree, { from: 0, to }, to, width, height);
    const slow = new Int32Array(width * height);
    const cell = (ms: number): number => Math.max(0, Math.min(width - 1, Math.floor((ms * width) / to)));
    tree.spans.forEach((_span, at) => {
      for (let each = cell(tree.start[at]!); each <= cell(Math.min(tree.end[at]!, to)); each++) {
        slow[Math.floor((at * height) / 300) * width + each]!++;
      }
    });
    expect([...count]).toEqual([...slow]);
  });
});

describe("the critical path", () => {
  const step = (spanId: string, from: number, to: number) => ({
    spanId,
    startOffset: `${from / 1000}s`,
    endOffset: `${to / 1000}s`,
    kind: "TIME_KIND_WORK" as const,
  });
  const analysis = sent(AnalyzeTraceResponseSchema, {
    criticalPath: [step("compile", 0, 400), step("gone", 400, 405), step("unit", 405, 900), step("unit", 900, 1_000)],
  });

  it("is told for each span, and without spans that are not known yet", () => {
    const tree = arrange(FEW);
    const path = pathOf(tree, analysis);
    expect([...path.share]).toEqual([0, 0, 0, 400, 0, 595]);
    expect(path.at.length).toBe(3);
    expect([stepsFrom(path, 0), stepsFrom(path, 401), stepsFrom(path, 950), stepsFrom(path, 2_000)]).toEqual([0, 1, 2, 3]);
  });

  it("is walked from span to span, and around", () => {
    const board = new Board();
    board.tree.value = arrange(FEW);
    board.analysis.value = analysis;
    board.until.value = 1_000;
    const walked = ["c", "c", "c"].map((key) => (board.key(key, false), board.current.value));
    expect(walked).toEqual(["compile", "unit", "compile"]);
    expect(nextSpan(board.tree.value, 0, () => false)).toBeUndefined();
  });
});

describe("the keyboard on the rows", () => {
  const pressed = (...keys: string[]): { board: Board; scrolled: number[] } => {
    const board = new Board();
    const scrolled: number[] = [];
    board.tree.value = arrange(FEW);
    board.until.value = 1_000;
    board.scrollTo = (row) => scrolled.push(row);
    keys.forEach((key) => board.key(key, false));
    return { board, scrolled };
  };

  it("moves within the rows that there are, and brings them into view", () => {
    expect(pressed("j", "j", "ArrowDown").board.current.value).toBe("lint");
    expect(pressed("End", "j").scrolled).toEqual([5, 5]);
    expect(pressed("End", "Home", "k").board.current.value).toBe("root");
  });

  it("folds and unfolds, and steps out of and into what is under a row", () => {
    const { board } = pressed("Home", "j", "ArrowLeft");
    expect(ids(board.tree.value, board.rows.value)).toBe("root build test unit");
    board.key("ArrowRight", false);
    board.key("ArrowRight", false);
    expect(board.current.value).toBe("lint");
    board.key("ArrowLeft", false);
    expect(board.current.value).toBe("build");
  });

  it("folds all and unfolds all", () => {
    const { board } = pressed("Home", "[");
    expect(ids(board.tree.value, board.rows.value)).toBe("root build test");
    board.key("]", false);
    expect(board.rows.value.length).toBe(6);
  });

  it("goes from failure to failure, and unfolds what hides it", () => {
    const { board } = pressed("Home", "[", "e");
    expect(board.current.value).toBe("unit");
    expect(board.folded.value.has("test")).toBe(false);
    expect(board.folded.value.has("build")).toBe(true);
  });

  it("zooms, pans, fits and shows all again", () => {
    const { board } = pressed("+");
    const [near] = [board.view.value];
    expect(near.to - near.from).toBeCloseTo(700);
    expect(board.key("ArrowRight", true)).toBe(true);
    expect(board.view.value.from).toBeGreaterThan(near.from);
    board.current.value = "lint";
    board.key("f", false);
    expect(board.view.value).toEqual({ from: 0, to: 120 });
    board.key("0", false);
    expect(board.view.value).toEqual({ from: 0, to: 1_000 });
    expect(board.key("q", false)).toBe(false);
  });

  it("shows a span that is out of the piece of time in view", () => {
    const { board } = pressed("+");
    board.chosen.value = { from: 0, to: 50 };
    board.reveal("unit");
    expect(board.view.value.from).toBeLessThanOrEqual(410);
    expect(board.view.value.to).toBe(1_000);
    board.reveal("nobody");
    expect(board.current.value).toBe("unit");
  });

  it("marks what a bottleneck is about", () => {
    const { board } = pressed("[");
    board.mark(["gone", "compile", "unit"]);
    expect(board.current.value).toBe("compile");
    expect(board.rows.value.length).toBe(6);
  });

  it("knows what has something under it", () => {
    const { board } = pressed();
    expect([0, 1, 2].map((at) => hasChildren(board.tree.value, at))).toEqual([true, true, false]);
  });
});

describe("fifty thousand spans", () => {
  const spans = many(50_000);

  it("are drawn with work only for what is in view", () => {
    let painted = 0;
    const ctx = new Proxy({} as CanvasRenderingContext2D, {
      get: (_of, name) => (name === "measureText" ? () => ({ width: 20 }) : name === "fillRect" ? () => painted++ : () => undefined),
      set: () => true,
    });
    const tree = arrange(spans);
    const rows = visibleRows(tree, new Set());
    const scene: Scene = {
      ...{ tree, rows, rowOf: rowOfEach(tree, rows), path: pathOf(tree, undefined), view: { from: 0, to: 51_000 }, now: 51_000 },
      ...{ runs: true, top: 20_000 * ROW, current: 3, hovered: 4, marked: new Set<string>() },
    };
    const pen: Pen = { ctx, width: 1_000, height: 700, look: () => "", font: "", fill: () => "" };
    drawGantt(pen, scene);
    expect(painted).toBeLessThan(200);
  });

  it("are put in order in well under half a second of work", () => {
    const took = Array.from({ length: 5 }, () => {
      // Of the processor's time: others want it too while tests run.
      const began = process.cpuUsage();
      const tree = arrange(spans);
      rowOfEach(tree, visibleRows(tree, new Set(["3"])));
      return process.cpuUsage(began).user / 1000;
    });
    expect(Math.min(...took)).toBeLessThan(400);
  });
});

describe("what is said", () => {
  it("of a span tells all that its looks show", () => {
    const words = spanWords(
      span("unit", "test", 0, 1_000, {
        ...{ attempt: 2, state: "WORK_STATE_FAILED", error: { message: "broke" }, startEstimated: true },
        waits: [{ kind: "TIME_KIND_PAUSE", startOffset: "0.1s", endOffset: "0.4s", reason: "too hot", actor: "ana" }],
      }),
      2_000,
      600,
    );
    expect(words).toBe(
      "task, attempt 2 · failed · 600 ms on the critical path · pause 300 ms: too hot by ana · beginning estimated · broke",
    );
  });

  it("of traces that are compared survives the URL, whatever their ids are", () => {
    const all = ["a,b", "c/d %", MEDIAN, "ü"];
    expect(parted(joined(all))).toEqual(all);
    expect(parted("%zz,")).toEqual(["%zz"]);
  });
});

describe("the list", () => {
  it("asks for what began in the range", () => {
    expect(listFilter("", { kind: "last", ms: 60_000 }, 120_000)).toBe('start_time >= "1970-01-01T00:01:00.000Z"');
    expect(listFilter("a OR b", { kind: "fixed", from: 0, to: 1_000 }, 5)).toBe(
      '(a OR b) AND start_time >= "1970-01-01T00:00:00.000Z" AND start_time < "1970-01-01T00:00:01.000Z"',
    );
  });

  it("has a point for each, longer ones higher", () => {
    const trace = (id: string, seconds: number) => sent(TraceSchema, { id, startTime: "1970-01-01T00:00:01Z", duration: `${seconds}s` });
    const { points } = pointsOf([trace("short", 1), trace("long", 100)], { from: 0, to: 2_000 }, 5_000, 1_000, 200);
    expect(points[0]!.y).toBeGreaterThan(points[1]!.y);
    expect(points[0]!.x).toBe(points[1]!.x);
  });
});

describe("the URL of a trace", () => {
  it("opens it from the list, with its span, and closes it to the list", () => {
    const open = moved({ ...HOME, page: "traces" }, { open: "wf 1", span: "task:a:1" });
    expect(open.tab).toBe("trace");
    expect(parseRoute(formatRoute(open))).toEqual(open);
    expect(parseRoute("#/traces?open=wf")).toMatchObject({ page: "traces", tab: "trace", open: "wf" });
    expect(moved(open, { open: "" })).toMatchObject({ tab: "", open: "", span: "" });
    expect(moved(open, { page: "events" })).toMatchObject({ tab: "", open: "", span: "" });
  });
});
