// A canvas that follows the size of its place and the theme, and is drawn at most once for each frame, however often that is asked for.
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { type Token, colourOf, fontOf } from "../ui/colours";
import { useStores } from "../ui/context";
import { type Pen, fillOf } from "./draw";
import type { TimeKind } from "./wire";

type Fill = ReturnType<typeof fillOf>;

// What is drawn with: colours and patterns are looked up once.
export function penOf(ctx: CanvasRenderingContext2D): Omit<Pen, "width" | "height"> {
  const colours = new Map<Token, string>();
  const fills = new Map<TimeKind, Fill>();
  const look = (token: Token): string => {
    const known = colours.get(token) ?? colourOf(token);
    colours.set(token, known);
    return known;
  };
  const fill = (kind: TimeKind): Fill => {
    const known = fills.get(kind) ?? fillOf(ctx, kind, look);
    fills.set(kind, known);
    return known;
  };
  return { ctx, look, fill, font: fontOf() };
}

const LEAST_DRAG_PX = 6;

interface CanvasProps extends Omit<JSX.IntrinsicElements["canvas"], "ref" | "wheel"> {
  readonly paint: (pen: Pen) => void;
  // Heard so that it can be kept from scrolling the page.
  readonly wheel?: (event: WheelEvent, at: Place) => void;
  readonly pointed?: (at: Place | undefined) => void;
  // What was dragged over, from left to right.
  readonly choose?: (from: number, to: number, width: number) => void;
  readonly click?: (at: Place) => void;
}

// Where on the canvas, and how wide that is, in pixels.
export interface Place {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

function placeOf({ clientX, clientY, currentTarget }: MouseEvent): Place {
  const { left, top, width, height } = (currentTarget as HTMLElement).getBoundingClientRect();
  return { x: clientX - left, y: clientY - top, width, height };
}

type Heard = Pick<CanvasProps, "paint" | "wheel" | "pointed" | "choose" | "click">;

export function Canvas({ paint, wheel, pointed, choose, click, ...attributes }: CanvasProps): JSX.Element {
  const place = useRef<HTMLCanvasElement>(null);
  const latest = useRef<Heard>({ paint });
  latest.current = { paint, wheel, pointed, choose, click } as Heard;
  const again = useRef<() => void>(() => undefined);
  const version = useStores().theme.version.value;
  useEffect(() => {
    const canvas = place.current;
    const ctx = canvas?.getContext("2d") ?? null;
    if (canvas === null || ctx === null) {
      return undefined;
    }
    const pen = penOf(ctx);
    const drag: Drag = { at: undefined };
    let frame: number | undefined;
    again.current = (): void => {
      frame ??= requestAnimationFrame(() => {
        frame = undefined;
        drawn(canvas, pen, latest.current.paint, drag.at);
      });
    };
    const observer = new ResizeObserver(again.current);
    observer.observe(canvas);
    const over = new AbortController();
    listen(canvas, over.signal, drag, () => latest.current, again.current);
    return () => {
      observer.disconnect();
      over.abort();
      if (frame !== undefined) {
        cancelAnimationFrame(frame);
      }
    };
  }, [version]);
  useEffect(() => again.current());
  return <canvas ref={place} aria-hidden="true" {...attributes} />;
}

interface Drag {
  at: readonly [number, number] | undefined;
}

function listen(canvas: HTMLCanvasElement, signal: AbortSignal, drag: Drag, heard: () => Heard, again: () => void): void {
  const on = (name: "mousedown" | "mousemove" | "mouseup" | "mouseleave" | "wheel", run: (event: MouseEvent, at: Place) => void): void =>
    canvas.addEventListener(name, (event) => run(event, placeOf(event)), { signal, passive: false });
  on("wheel", (event, at) => heard().wheel?.(event as WheelEvent, at));
  on("mousedown", (_event, { x }) => (drag.at = [x, x]));
  on("mousemove", (_event, at) => {
    if (drag.at !== undefined && heard().choose !== undefined) {
      drag.at = [drag.at[0], at.x];
      again();
    }
    heard().pointed?.(at);
  });
  on("mouseleave", () => {
    drag.at = undefined;
    again();
    heard().pointed?.(undefined);
  });
  on("mouseup", (_event, at) => {
    const [from, to] = drag.at ?? [at.x, at.x];
    drag.at = undefined;
    again();
    if (Math.abs(to - from) >= LEAST_DRAG_PX) {
      heard().choose?.(Math.min(from, to), Math.max(from, to), at.width);
    } else {
      heard().click?.(at);
    }
  });
}

function drawn(canvas: HTMLCanvasElement, pen: Omit<Pen, "width" | "height">, paint: (pen: Pen) => void, drag: Drag["at"]): void {
  const began = performance.now();
  const { clientWidth: width, clientHeight: height } = canvas;
  const [across, down] = [Math.round(width * devicePixelRatio), Math.round(height * devicePixelRatio)];
  if (across === 0 || down === 0) {
    return;
  }
  if (canvas.width !== across || canvas.height !== down) {
    canvas.width = across;
    canvas.height = down;
  }
  pen.ctx.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
  pen.ctx.clearRect(0, 0, width, height);
  paint({ ...pen, width, height });
  if (drag !== undefined) {
    shade({ ...pen, height }, ...drag);
  }
  canvas.dataset["paintMs"] = (performance.now() - began).toFixed(2);
}

// What is chosen, lightly.
export function shade({ ctx, look, height }: Pick<Pen, "ctx" | "look" | "height">, from: number, to: number): void {
  ctx.globalAlpha = 0.18;
  ctx.fillStyle = look("accent");
  ctx.fillRect(Math.min(from, to), 0, Math.abs(to - from), height);
  ctx.globalAlpha = 1;
}
