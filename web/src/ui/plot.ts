// Draws a chart of lines over time on a canvas, all of it anew each time: a few thousand points take less than a frame. Pure of the page's state; what it
// is given is in milliseconds and in the unit that is shown.
import { timeOfDay } from "../core/format";
import type { Line, Span } from "../core/history";
import type { FiringMark } from "../stores/alerts";
import type { Token } from "./colours";
import { type Scale, bottomOf, lonely, timeTicks, topOf, valueTicks } from "./scale";

export interface ChartLine {
  readonly label: string;
  readonly colour: Token;
  readonly fill?: Token;
  readonly values: Line;
}

// A time in which something fires.
export interface FiringSpan extends Span {
  readonly critical: boolean;
}

export interface Picture extends Scale {
  // Seconds since the epoch, ascending.
  readonly time: readonly number[];
  readonly lines: readonly ChartLine[];
  readonly span: Span;
  readonly format: (value: number) => string;
  readonly steps?: readonly number[];
  // Between a threshold and its recovery, where nothing changes.
  readonly band?: readonly [number, number];
  readonly marks: readonly FiringMark[];
  readonly spans?: readonly FiringSpan[];
  readonly fromLowest?: boolean;
}

export interface Pointing {
  // The point under the crosshair.
  readonly index: number | undefined;
  // What is being dragged over, in pixels.
  readonly drag: readonly [number, number] | undefined;
}

const LEFT = 56;
const TOP = 8;
const BOTTOM = 22;
const RIGHT = 8;
const LABEL_HALF = 15;
const BAND = 0.14;
const FIRING = 0.1;
const SELECTED = 0.18;
const BAR = 3;
const MARK = 4.5;

export interface Frame {
  readonly x: (ms: number) => number;
  readonly y: (value: number) => number;
  readonly time: (x: number) => number;
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

export function frameOf(picture: Picture, width: number, height: number): Frame & { readonly low: number; readonly high: number } {
  const { span, time, lines } = picture;
  const seen = lines.flatMap((line) =>
    line.values.filter((value, index) => value !== null && inside(span, (time[index] ?? 0) * 1000)),
  ) as number[];
  const greatest = seen.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
  const least = seen.reduce((most, value) => Math.min(most, value), Number.POSITIVE_INFINITY);
  const high = topOf(picture, seen.length === 0 ? null : greatest);
  const low = bottomOf(picture, seen.length === 0 ? null : least);
  const [left, right, top, bottom] = [LEFT, width - RIGHT, TOP, height - BOTTOM];
  const long = Math.max(1, span.to - span.from);
  return {
    ...{ low, high, left, right, top, bottom },
    x: (ms) => left + ((ms - span.from) / long) * (right - left),
    y: (value) => bottom - ((value - low) / (high - low || 1)) * (bottom - top),
    time: (x) => span.from + ((x - left) / Math.max(1, right - left)) * long,
  };
}

const inside = (span: Span, ms: number): boolean => ms >= span.from && ms <= span.to;

export function draw(
  ctx: CanvasRenderingContext2D,
  picture: Picture,
  pointing: Pointing,
  look: (token: Token) => string,
  font: string,
): void {
  const ratio = devicePixelRatio;
  const [width, height] = [ctx.canvas.width / ratio, ctx.canvas.height / ratio];
  const frame = frameOf(picture, width, height);
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, width, height);
  ctx.font = font;
  const pen: Pen = { ctx, frame, look };
  drawAxes(pen, picture);
  ctx.save();
  ctx.beginPath();
  ctx.rect(frame.left, frame.top - MARK, frame.right - frame.left, frame.bottom - frame.top + MARK);
  ctx.clip();
  drawGrounds(pen, picture);
  picture.lines.forEach((line) => drawLine(pen, picture, line));
  drawThreshold(pen, picture);
  drawMarks(pen, picture);
  drawPointing(pen, picture, pointing);
  ctx.restore();
}

interface Pen {
  readonly ctx: CanvasRenderingContext2D;
  readonly frame: ReturnType<typeof frameOf>;
  readonly look: (token: Token) => string;
}

// Half a pixel, so that a line of one pixel is not smeared over two.
const crisp = (at: number): number => Math.round(at) + 0.5;

function rule({ ctx }: Pen, x1: number, y1: number, x2: number, y2: number, style: string, dash: readonly number[] = []): void {
  ctx.strokeStyle = style;
  ctx.lineWidth = 1;
  ctx.setLineDash([...dash]);
  ctx.beginPath();
  ctx.moveTo(x1, y1);
  ctx.lineTo(x2, y2);
  ctx.stroke();
  ctx.setLineDash([]);
}

function drawAxes(pen: Pen, { span, format, steps }: Picture): void {
  const { ctx, frame, look } = pen;
  const { left, right, bottom, top } = frame;
  ctx.fillStyle = look("text-faint");
  ctx.textBaseline = "middle";
  ctx.textAlign = "right";
  for (const value of valueTicks(frame.low, frame.high, bottom - top, steps)) {
    const y = frame.y(value);
    rule(pen, left, crisp(y), right, crisp(y), look("grid"));
    ctx.fillText(value === 0 ? "0" : format(value), left - 6, Math.max(y, top));
  }
  ctx.textAlign = "center";
  for (const at of timeTicks(span, right - left)) {
    const x = frame.x(at);
    // A label that would be cut at the edge, or run into the other axis, is left out.
    if (x > left + LABEL_HALF && x < right - LABEL_HALF) {
      ctx.fillText(timeOfDay(at, span.to - span.from < 600_000 ? "seconds" : "minutes"), x, bottom + BOTTOM / 2 + 2);
    }
  }
}

// Behind the lines: the band in which nothing changes, and the times of firing with a bar at their foot, so that colour is not all that tells them.
function drawGrounds({ ctx, frame, look }: Pen, { band, spans = [], span }: Picture): void {
  const { left, right, top, bottom } = frame;
  const fill = (token: Token, strength: number, x: number, y: number, width: number, height: number): void => {
    ctx.fillStyle = look(token);
    ctx.globalAlpha = strength;
    ctx.fillRect(x, y, width, height);
    ctx.globalAlpha = 1;
  };
  for (const each of spans) {
    const from = frame.x(Math.max(each.from, span.from));
    const wide = frame.x(Math.min(each.to, span.to)) - from;
    const token = each.critical ? "critical" : "warning";
    fill(token, FIRING, from, top, wide, bottom - top);
    fill(token, 1, from, bottom - BAR, Math.max(wide, 1), BAR);
  }
  if (band !== undefined) {
    const [a, b] = [frame.y(band[0]), frame.y(band[1])];
    fill("warning", BAND, left, Math.min(a, b), right - left, Math.abs(b - a));
  }
}

function drawLine({ ctx, frame, look }: Pen, { time }: Picture, line: ChartLine): void {
  const path = new Path2D();
  const ground = new Path2D();
  let began: number | undefined;
  let last = 0;
  const close = (): void => {
    if (began !== undefined) {
      ground.lineTo(last, frame.bottom);
      ground.lineTo(began, frame.bottom);
      began = undefined;
    }
  };
  line.values.forEach((value, index) => {
    if (value === null) {
      close();
      return;
    }
    const [x, y] = [frame.x((time[index] ?? 0) * 1000), frame.y(value)];
    path[began === undefined ? "moveTo" : "lineTo"](x, y);
    ground[began === undefined ? "moveTo" : "lineTo"](x, y);
    began ??= x;
    last = x;
  });
  close();
  if (line.fill !== undefined) {
    ctx.fillStyle = look(line.fill);
    ctx.fill(ground);
  }
  ctx.strokeStyle = ctx.fillStyle = look(line.colour);
  ctx.lineWidth = 1.5;
  ctx.lineJoin = "round";
  ctx.stroke(path);
  // A value between two holes has no line to be seen by.
  for (const index of lonely(line.values)) {
    dot(ctx, frame.x((time[index] ?? 0) * 1000), frame.y(line.values[index] ?? 0), 2.5);
  }
}

function dot(ctx: CanvasRenderingContext2D, x: number, y: number, radius: number): void {
  ctx.beginPath();
  ctx.arc(x, y, radius, 0, 2 * Math.PI);
  ctx.fill();
}

function drawThreshold(pen: Pen, { threshold }: Picture): void {
  const { frame, look } = pen;
  if (threshold !== undefined && threshold.value <= frame.high && threshold.value >= frame.low) {
    const y = crisp(frame.y(threshold.value));
    rule(pen, frame.left, y, frame.right, y, look("warning"), [4, 3]);
  }
}

function drawMarks({ ctx, frame, look }: Pen, { marks, span }: Picture): void {
  for (const mark of marks) {
    if (!inside(span, mark.at)) {
      continue;
    }
    const x = frame.x(mark.at);
    const [point, foot] = mark.over === true ? [frame.bottom, frame.bottom - 2 * MARK] : [frame.bottom - 2 * MARK, frame.bottom];
    ctx.fillStyle = look(mark.over === true ? "good" : mark.critical ? "critical" : "warning");
    ctx.beginPath();
    ctx.moveTo(x, point);
    ctx.lineTo(x + MARK, foot);
    ctx.lineTo(x - MARK, foot);
    ctx.fill();
  }
}

function drawPointing(pen: Pen, { time, lines }: Picture, { index, drag }: Pointing): void {
  const { ctx, frame, look } = pen;
  if (drag !== undefined) {
    ctx.fillStyle = look("accent");
    ctx.globalAlpha = SELECTED;
    ctx.fillRect(Math.min(...drag), frame.top, Math.abs(drag[1] - drag[0]), frame.bottom - frame.top);
    ctx.globalAlpha = 1;
  }
  const at = index === undefined ? undefined : time[index];
  if (index === undefined || at === undefined) {
    return;
  }
  const x = frame.x(at * 1000);
  rule(pen, crisp(x), frame.top, crisp(x), frame.bottom, look("line-strong"), [3, 3]);
  for (const line of lines) {
    const value = line.values[index];
    if (value !== null && value !== undefined) {
      ctx.fillStyle = look(line.colour);
      dot(ctx, x, frame.y(value), 3);
    }
  }
}

// The point nearest to a time, of those that are shown.
export function nearest({ time, span }: Picture, ms: number): number | undefined {
  let best: number | undefined;
  time.forEach((at, index) => {
    const closer = best === undefined || Math.abs(at * 1000 - ms) < Math.abs((time[best] ?? 0) * 1000 - ms);
    if (closer && inside(span, at * 1000)) {
      best = index;
    }
  });
  return best;
}
