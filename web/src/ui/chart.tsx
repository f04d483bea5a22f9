// uPlot in a component: made anew for a theme, given data as it comes, told its width by its place. The crosshair is shared by key.
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { timeOfDay } from "../core/format";
import type { Line, Span } from "../core/history";
import type { FiringMark } from "../stores/alerts";
import { type Token, colourOf, fontOf } from "./colours";
import { type Threshold, bottomOf, lonely, topOf } from "./scale";

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

export interface ChartProps {
  readonly time: number[];
  readonly lines: readonly ChartLine[];
  readonly span: Span;
  readonly format: (value: number) => string;
  // The least top of the scale, so that a quiet chart does not magnify noise.
  readonly top: number;
  // Where the scale cannot go beyond, such as 100 %.
  readonly ceiling?: number;
  readonly steps?: readonly number[];
  readonly threshold: Threshold | undefined;
  // Between a threshold and its recovery, where nothing changes.
  readonly band?: readonly [number, number];
  readonly marks: readonly FiringMark[];
  readonly spans?: readonly FiringSpan[];
  // Charts of one key share a crosshair.
  readonly sync?: string;
  readonly fromLowest?: boolean;
  readonly themeVersion: number;
  readonly hover: (index: number | undefined) => void;
  readonly zoom: (span: Span) => void;
  readonly reset: () => void;
}

const SYNC = "monitoring";
const LEAST_DRAG_PX = 6;

export function Chart(props: ChartProps): JSX.Element {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const latest = useRef(props);
  latest.current = props;

  useEffect(() => {
    const element = place.current;
    if (element === null) {
      return;
    }
    const made = new uPlot(
      options(element, () => latest.current),
      dataOf(latest.current),
      element,
    );
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: element.clientHeight }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = undefined;
    };
  }, [props.themeVersion, props.lines.length]);

  useEffect(() => {
    plot.current?.setData(dataOf(props), true);
  }, [props.time, props.span.from, props.span.to, props.threshold?.value, props.marks, props.spans, props.band?.[1]]);

  return <div class="plot" ref={place} />;
}

function dataOf(props: ChartProps): uPlot.AlignedData {
  return [props.time, ...props.lines.map((line) => line.values)];
}

function options(element: HTMLElement, read: () => ChartProps): uPlot.Options {
  const font = fontOf();
  const { steps, sync } = read();
  const axis = { stroke: colourOf("text-faint"), font, ticks: { show: false }, grid: { stroke: colourOf("grid"), width: 1 } };
  return {
    width: element.clientWidth,
    height: element.clientHeight,
    padding: [8, 8, 0, 0],
    legend: { show: false },
    scales: {
      x: { time: true, range: () => [read().span.from / 1000, read().span.to / 1000] },
      y: { range: (_plot, low, high) => [bottomOf(read(), low), topOf(read(), high)] },
    },
    axes: [
      {
        ...axis,
        size: 22,
        gap: 4,
        space: 64,
        grid: { show: false },
        values: (made, splits) => splits.map((at) => timeWords(made, at, read().span)),
      },
      {
        ...axis,
        ...(steps === undefined ? {} : { incrs: [...steps] }),
        size: 50,
        gap: 6,
        space: 34,
        values: (_plot, splits) => splits.map((value) => (value === 0 ? "0" : read().format(value))),
      },
    ],
    series: [{}, ...read().lines.map(seriesOf)],
    cursor: {
      sync: { key: sync ?? SYNC, scales: ["x", null] },
      y: false,
      drag: { x: true, y: false, setScale: false, dist: LEAST_DRAG_PX },
      points: { size: 6 },
      bind: { dblclick: () => () => (read().reset(), null) },
    },
    hooks: {
      drawClear: [(made) => drawGrounds(made, read())],
      draw: [(made) => drawThreshold(made, read().threshold), (made) => drawMarks(made, read())],
      setCursor: [(made) => read().hover(made.cursor.idx ?? undefined)],
      setSelect: [(made) => selected(made, read())],
    },
  };
}

function seriesOf(line: ChartLine): uPlot.Series {
  const stroke = colourOf(line.colour);
  return {
    label: line.label,
    stroke,
    ...(line.fill === undefined ? {} : { fill: colourOf(line.fill) }),
    width: 1.5,
    spanGaps: false,
    // A value between two holes has no line to be seen by.
    points: { show: true, size: 5, width: 0, fill: stroke, filter: (made, index) => lonely(made.data[index] as Line) },
  };
}

const LABEL_HALF_PX = 26;

// A label that would be cut at the edge, or run into the other axis, is left out.
function timeWords(made: uPlot, seconds: number, span: Span): string {
  const at = made.valToPos(seconds, "x");
  if (at < LABEL_HALF_PX / 2 || at > made.bbox.width / devicePixelRatio - LABEL_HALF_PX / 2) {
    return "";
  }
  return timeOfDay(seconds * 1000, span.to - span.from < 600_000 ? "seconds" : "minutes");
}

const BAND = 0.14;
const FIRING = 0.1;
const BAR_PX = 3;

// Behind the lines: the band in which nothing changes, and the times of firing with a bar at their foot, so that colour is not all that tells them.
function drawGrounds(made: uPlot, { band, spans = [], span }: ChartProps): void {
  const { ctx, bbox } = made;
  const fill = (token: Token, strength: number, x: number, y: number, width: number, height: number): void => {
    ctx.fillStyle = colourOf(token);
    ctx.globalAlpha = strength;
    ctx.fillRect(x, y, width, height);
  };
  const bottom = bbox.top + bbox.height;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  for (const each of spans) {
    const left = made.valToPos(Math.max(each.from, span.from) / 1000, "x", true);
    const right = made.valToPos(Math.min(each.to, span.to) / 1000, "x", true);
    const token = each.critical ? "critical" : "warning";
    fill(token, FIRING, left, bbox.top, right - left, bbox.height);
    fill(token, 1, left, bottom - BAR_PX * devicePixelRatio, Math.max(right - left, devicePixelRatio), BAR_PX * devicePixelRatio);
  }
  if (band !== undefined) {
    const [a, b] = band.map((value) => made.valToPos(value, "y", true)) as [number, number];
    fill("warning", BAND, bbox.left, Math.min(a, b), bbox.width, Math.abs(b - a));
  }
  ctx.restore();
}

function drawThreshold(made: uPlot, threshold: Threshold | undefined): void {
  const { ctx, bbox } = made;
  const { min = 0, max = 0 } = made.scales["y"] ?? {};
  if (threshold === undefined || threshold.value > (max ?? 0) || threshold.value < (min ?? 0)) {
    return;
  }
  const y = Math.round(made.valToPos(threshold.value, "y", true));
  const ratio = devicePixelRatio;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = colourOf("warning");
  ctx.lineWidth = ratio;
  ctx.setLineDash([4 * ratio, 3 * ratio]);
  ctx.beginPath();
  ctx.moveTo(bbox.left, y);
  ctx.lineTo(bbox.left + bbox.width, y);
  ctx.stroke();
  ctx.restore();
}

function drawMarks(made: uPlot, { marks, span }: ChartProps): void {
  const { ctx, bbox } = made;
  const size = 4.5 * devicePixelRatio;
  const bottom = bbox.top + bbox.height;
  ctx.save();
  for (const mark of marks) {
    if (mark.at < span.from || mark.at > span.to) {
      continue;
    }
    const x = made.valToPos(mark.at / 1000, "x", true);
    const [point, foot] = mark.over === true ? [bottom, bottom - 2 * size] : [bottom - 2 * size, bottom];
    ctx.fillStyle = colourOf(mark.over === true ? "good" : mark.critical ? "critical" : "warning");
    ctx.beginPath();
    ctx.moveTo(x, point);
    ctx.lineTo(x + size, foot);
    ctx.lineTo(x - size, foot);
    ctx.fill();
  }
  ctx.restore();
}

// The drag is shown on every chart of the group, but only the one under the pointer acts on it.
function selected(made: uPlot, props: ChartProps): void {
  const { left, width } = made.select;
  if (width < LEAST_DRAG_PX) {
    return;
  }
  const from = made.posToVal(left, "x") * 1000;
  const to = made.posToVal(left + width, "x") * 1000;
  made.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  if (made.over.matches(":hover") && to - from >= 1_000) {
    props.zoom({ from: Math.round(from), to: Math.round(to) });
  }
}
