// Draws the rows that are in view on a canvas: what is not seen costs nothing, so a trace of fifty thousand spans is drawn as fast as one of fifty.
// Kinds of waiting differ by pattern, what failed and what still runs by the shape at its end; no colour tells anything alone.
import { durationText } from "../core/format";
import type { Span as Range } from "../core/history";
import { durationMs } from "../core/time";
import { TIME_STEPS } from "../ui/charts";
import type { Token } from "../ui/colours";
import { valueTicks } from "../ui/scale";
import type { Density } from "./density";
import { type CriticalPath, stepsFrom } from "./path";
import type { Tree } from "./tree";
import { offsetText } from "./window";
import type { Span, SpanWait, TimeKind } from "./wire";

export const ROW = 24;
export const AXIS = 24;
const TICK_PX = 96;
const LEAST_PX = 2;
const SEEN_PX = 1;
// Room for the shape at the end of a bar.
export const EDGE = 12;
const PATTERN = 6;

export interface Scene {
  readonly tree: Tree;
  readonly rows: Int32Array;
  readonly rowOf: Int32Array;
  readonly path: CriticalPath;
  readonly view: Range;
  // How far what has not ended reaches, and whether anything has not.
  readonly now: number;
  readonly runs: boolean;
  // How far the rows are scrolled.
  readonly top: number;
  readonly current: number;
  readonly hovered: number;
  readonly marked: ReadonlySet<string>;
}

export type Look = (token: Token) => string;

export const KINDS: readonly (readonly [TimeKind, word: string, Token])[] = [
  ["TIME_KIND_WORK", "work", "series-1"],
  ["TIME_KIND_QUEUE", "queue", "unknown"],
  ["TIME_KIND_RETRY", "retry", "critical"],
  ["TIME_KIND_WAIT", "wait", "series-2"],
  ["TIME_KIND_PAUSE", "pause", "warning"],
];

export const kindWord = (kind: TimeKind): string => KINDS.find(([each]) => each === kind)?.[1] ?? "other";

// Lines this way, lines both ways, dots, bars: told apart without colour.
const STROKES: Readonly<Partial<Record<TimeKind, string>>> = {
  TIME_KIND_QUEUE: "M-1 7 7 -1M-1 1 1 -1M5 7 7 5",
  TIME_KIND_RETRY: "M-1 7 7 -1M-1 -1 7 7",
  TIME_KIND_WAIT: "M2 2h1.6M5 5h1.6",
  TIME_KIND_PAUSE: "M1.5 -1v8M4.5 -1v8",
};

export function fillOf(ctx: CanvasRenderingContext2D, kind: TimeKind, look: Look): string | CanvasPattern {
  const colour = look(KINDS.find(([each]) => each === kind)?.[2] ?? "unknown");
  const stroke = STROKES[kind];
  const tile = document.createElement("canvas");
  const ratio = devicePixelRatio;
  tile.width = tile.height = PATTERN * ratio;
  const pen = tile.getContext("2d");
  if (stroke === undefined || pen === null) {
    return colour;
  }
  pen.scale(ratio, ratio);
  pen.strokeStyle = colour;
  pen.lineWidth = 1.4;
  pen.stroke(new Path2D(stroke));
  const pattern = ctx.createPattern(tile, "repeat");
  pattern?.setTransform(new DOMMatrix().scale(1 / ratio));
  return pattern ?? colour;
}

export interface Pen {
  readonly ctx: CanvasRenderingContext2D;
  readonly width: number;
  readonly height: number;
  readonly look: Look;
  readonly font: string;
  readonly fill: (kind: TimeKind) => string | CanvasPattern;
}

export const scaleOf = ({ from, to }: Range, width: number): ((ms: number) => number) => {
  const scale = width / (to - from || 1);
  // Far outside of the view a canvas loses exactness.
  return (ms) => Math.max(-20, Math.min(width + 20, (ms - from) * scale));
};

export function drawGantt(pen: Pen, scene: Scene): void {
  const { ctx, width, height, look } = pen;
  const x = scaleOf(scene.view, width - EDGE);
  const first = Math.max(0, Math.floor(scene.top / ROW));
  const end = Math.min(scene.rows.length, Math.ceil((scene.top + height - AXIS) / ROW));
  drawAxis(pen, scene, x);
  ctx.save();
  ctx.beginPath();
  ctx.rect(0, AXIS, width, height - AXIS);
  ctx.clip();
  for (let row = first; row < end; row++) {
    drawRow(pen, scene, x, scene.rows[row] as number, AXIS + row * ROW - scene.top);
  }
  drawPath(pen, scene, x);
  if (scene.runs) {
    ctx.fillStyle = look("notice");
    ctx.fillRect(Math.round(x(scene.now)) - 1, AXIS, 1, height);
  }
  ctx.restore();
}

function drawAxis({ ctx, width, height, look, font }: Pen, { view }: Scene, x: (ms: number) => number): void {
  const ticks = valueTicks(view.from, view.to, (width * 34) / TICK_PX, view.to - view.from > 10 ? TIME_STEPS : undefined);
  const step = (ticks[1] ?? 0) - (ticks[0] ?? 0);
  ctx.font = font;
  ctx.textBaseline = "middle";
  for (const at of ticks) {
    const left = Math.round(x(at));
    ctx.fillStyle = look("grid");
    ctx.fillRect(left, AXIS - 4, 1, height);
    ctx.fillStyle = look("text-faint");
    const text = offsetText(at, step || 1000, durationText);
    if (left + 4 + ctx.measureText(text).width < width) {
      ctx.fillText(text, left + 4, AXIS / 2);
    }
  }
  ctx.fillStyle = look("line");
  ctx.fillRect(0, AXIS - 1, width, 1);
}

const OVERVIEW: readonly Span["kind"][] = ["SPAN_KIND_WORKFLOW", "SPAN_KIND_ATTEMPT", "SPAN_KIND_STAGE"];
const TONES: Readonly<Partial<Record<Span["state"], Token>>> = {
  WORK_STATE_FAILED: "critical",
  WORK_STATE_RETRYING: "warning",
  WORK_STATE_CANCELLED: "unknown",
  WORK_STATE_SKIPPED: "unknown",
};

function drawRow(pen: Pen, scene: Scene, x: (ms: number) => number, at: number, y: number): void {
  const { ctx, width, look } = pen;
  const span = scene.tree.spans[at] as Span;
  if (at === scene.current || at === scene.hovered) {
    ctx.fillStyle = look(at === scene.current ? "accent-ground" : "raised");
    ctx.fillRect(0, y, width, ROW);
  }
  const high = OVERVIEW.includes(span.kind) ? 6 : 12;
  const place = y + (ROW - high) / 2 - 1;
  const open = (scene.tree.end[at] as number) > scene.now;
  const left = x(scene.tree.start[at] as number);
  const right = Math.max(x(Math.min(scene.tree.end[at] as number, scene.now)), left + LEAST_PX);
  const tone = look(TONES[span.state] ?? "series-1");
  ctx.fillStyle = tone;
  ctx.fillRect(left, place, right - left, high);
  for (const wait of span.waits) {
    drawWait(pen, x, wait, scene.now, place, high);
  }
  if (scene.marked.has(span.spanId)) {
    ctx.strokeStyle = look("accent");
    ctx.lineWidth = 2;
    ctx.strokeRect(left - 2, place - 2, right - left + 4, high + 4);
  }
  ctx.fillStyle = tone;
  if (span.state === "WORK_STATE_FAILED") {
    shape(ctx, right + 3, y + ROW / 2 - 1, [0, 5, 5, -5, 10, 5]);
  } else if (open) {
    ctx.fillStyle = look("notice");
    shape(ctx, right, y + ROW / 2 - 1, [0, -6, 6, 0, 0, 6]);
  }
  if (span.startEstimated) {
    ctx.fillStyle = look("panel");
    ctx.fillRect(left + 2, place, 2, high);
    ctx.fillRect(left + 6, place, 1, high);
  }
}

function shape(ctx: CanvasRenderingContext2D, x: number, y: number, points: readonly number[]): void {
  ctx.beginPath();
  for (let each = 0; each < points.length; each += 2) {
    ctx.lineTo(x + (points[each] as number), y + (points[each + 1] as number));
  }
  ctx.fill();
}

function drawWait({ ctx, look, fill }: Pen, x: (ms: number) => number, wait: SpanWait, now: number, y: number, high: number): void {
  const left = x(durationMs(wait.startOffset) ?? 0);
  const wide = x(durationMs(wait.endOffset) ?? now) - left;
  if (wide >= 0.5) {
    ctx.fillStyle = look("panel");
    ctx.fillRect(left, y - 0.5, wide, high + 1);
    ctx.fillStyle = fill(wait.kind);
    ctx.fillRect(left, y, wide, high);
  }
}

// The path as a line below the bars, handed from row to row where one span waited for another. Steps too short to be seen are left out.
function drawPath({ ctx, height, look }: Pen, { path, rowOf, view, top }: Scene, x: (ms: number) => number): void {
  ctx.fillStyle = look("text");
  let before: number | undefined;
  for (let each = stepsFrom(path, view.from); each < path.at.length && (path.start[each] as number) <= view.to; each++) {
    const y = AXIS + (rowOf[path.at[each] as number] as number) * ROW - top + ROW - 5;
    const [left, right] = [x(path.start[each] as number), x(path.end[each] as number)];
    if (right - left < SEEN_PX) {
      continue;
    }
    if (y > AXIS - ROW && y < height) {
      ctx.fillRect(left, y, right - left, 3);
    }
    const from = Math.max(Math.min(y, before ?? y), AXIS);
    const to = Math.min(Math.max(y, before ?? y), height);
    if (to > from) {
      ctx.fillRect(left - 0.5, from, 1, to - from + 3);
    }
    before = y;
  }
}

export function drawOverview({ ctx, width, height, look }: Pen, { width: across, height: lines, count, failed }: Density): void {
  const [wide, high] = [width / across, height / lines];
  for (const [cells, token] of [
    [count, "text-faint"],
    [failed, "critical"],
  ] as const) {
    ctx.fillStyle = look(token);
    for (let line = 0; line < lines; line++) {
      for (let from = 0; from < across; from++) {
        let to = from;
        while (to < across && (cells[line * across + to] as number) > 0) {
          to++;
        }
        if (to > from) {
          ctx.fillRect(from * wide, line * high, (to - from) * wide, Math.max(high - 0.5, 0.5));
          from = to;
        }
      }
    }
  }
}
