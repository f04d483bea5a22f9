// Traces as points: when they began against how long they took. Dragging over it chooses a range of time; the table below it tells the same in words.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { durationText, timeOfDay } from "../core/format";
import type { Span as Range } from "../core/history";
import { durationMs, timestampMs } from "../core/time";
import { TIME_STEPS } from "../ui/charts";
import type { Token } from "../ui/colours";
import { timeTicks } from "../ui/scale";
import { Canvas, type Place } from "./canvas";
import type { Pen } from "./draw";
import type { Trace } from "./wire";

const [LEFT, BOTTOM, EDGE, NEAR_PX] = [64, 20, 8, 12];

export interface Point {
  readonly trace: Trace;
  readonly x: number;
  readonly y: number;
}

// Durations lie orders of magnitude apart, so their axis is that of their logarithms.
export function pointsOf(
  traces: readonly Trace[],
  span: Range,
  now: number,
  width: number,
  height: number,
): { points: Point[]; y: (ms: number) => number; low: number; high: number } {
  const took = traces.map((trace) => Math.max(1, durationMs(trace.duration) ?? now - (timestampMs(trace.startTime) ?? now)));
  const low = Math.min(1_000, ...took) / 1.3;
  const high = Math.max(10_000, ...took) * 1.3;
  const y = (ms: number): number => height - BOTTOM - (Math.log(ms / low) / Math.log(high / low)) * (height - BOTTOM - EDGE);
  const scale = (width - LEFT - EDGE) / (span.to - span.from || 1);
  const points = traces.map((trace, index) => ({
    trace,
    x: LEFT + ((timestampMs(trace.startTime) ?? span.from) - span.from) * scale,
    y: y(took[index] as number),
  }));
  return { points, y, low, high };
}

const LOOKS: Readonly<Partial<Record<Trace["state"], readonly [Token, string]>>> = {
  WORKFLOW_STATE_COMPLETED: ["good", "M-3 0a3 3 0 1 0 6 0a3 3 0 1 0 -6 0"],
  WORKFLOW_STATE_FAILED: ["critical", "M0 -4.5L4.5 4H-4.5z"],
  WORKFLOW_STATE_CANCELLED: ["unknown", "M-3 -4L0 -1L3 -4L4 -3L1 0L4 3L3 4L0 1L-3 4L-4 3L-1 0L-4 -3z"],
  WORKFLOW_STATE_PAUSED: ["warning", "M-3.5 -4h2.5v8h-2.5zM1 -4h2.5v8H1z"],
};
const OPEN: readonly [Token, string] = ["notice", "M-3 -4.5L5 0L-3 4.5z"];

interface ScatterProps {
  readonly traces: readonly Trace[];
  readonly span: Range;
  readonly now: number;
  readonly choose: (span: Range) => void;
  readonly open: (id: string) => void;
}

export function Scatter({ traces, span, now, choose, open }: ScatterProps): JSX.Element {
  const near = useSignal<Point | undefined>(undefined);
  const pointed = near.value;
  const paint = (pen: Pen): void => {
    drawScatter(pen, traces, span, now);
    if (pointed !== undefined) {
      pen.ctx.strokeStyle = pen.look("accent");
      pen.ctx.lineWidth = 2;
      pen.ctx.strokeRect(pointed.x - 7, pointed.y - 7, 14, 14);
    }
  };
  const nearest = (at: Place | undefined): Point | undefined => {
    const far = (point: Point): number => (at === undefined ? NEAR_PX : Math.hypot(point.x - at.x, point.y - at.y));
    const { points } = pointsOf(traces, span, now, at?.width ?? 0, at?.height ?? 0);
    return points.filter((point) => far(point) < NEAR_PX).sort((one, other) => far(one) - far(other))[0];
  };
  const name =
    pointed === undefined ? "" : `${pointed.trace.name || pointed.trace.id} · ${durationText(durationMs(pointed.trace.duration) ?? 0)}`;
  return (
    <Canvas
      class="scatter"
      title={name}
      paint={paint}
      pointed={(at) => (near.value = nearest(at))}
      choose={(from, to, width) => {
        const time = (x: number): number => Math.round(span.from + ((x - LEFT) / (width - LEFT - EDGE)) * (span.to - span.from));
        choose({ from: time(from), to: time(to) });
      }}
      click={(at) => {
        const point = nearest(at);
        if (point !== undefined) {
          open(point.trace.id);
        }
      }}
      data-testid="scatter"
      data-points={traces.length}
    />
  );
}

function drawScatter({ ctx, width, height, look, font }: Pen, traces: readonly Trace[], span: Range, now: number): void {
  const { points, y, low, high } = pointsOf(traces, span, now, width, height);
  ctx.font = font;
  ctx.textBaseline = "middle";
  ctx.textAlign = "right";
  let free = height;
  for (const ms of TIME_STEPS) {
    if (ms >= low && ms <= high && free - y(ms) > 22) {
      free = y(ms);
      ctx.fillStyle = look("grid");
      ctx.fillRect(LEFT, Math.round(free), width - LEFT - EDGE, 1);
      ctx.fillStyle = look("text-faint");
      ctx.fillText(durationText(ms), LEFT - 6, free);
    }
  }
  ctx.textAlign = "center";
  const scale = (width - LEFT - EDGE) / (span.to - span.from || 1);
  for (const at of timeTicks(span, width - LEFT)) {
    const x = LEFT + (at - span.from) * scale;
    if (x < width - 24 && x > LEFT + 16) {
      ctx.fillText(timeOfDay(at, "minutes"), x, height - BOTTOM / 2);
    }
  }
  ctx.textAlign = "left";
  for (const { trace, ...point } of points.filter(({ x }) => x >= LEFT)) {
    const [token, path] = LOOKS[trace.state] ?? OPEN;
    ctx.save();
    ctx.translate(point.x, point.y);
    ctx.fillStyle = look(token);
    ctx.fill(new Path2D(path));
    ctx.restore();
  }
}
