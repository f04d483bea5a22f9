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

interface CanvasProps extends Omit<JSX.IntrinsicElements["canvas"], "ref" | "wheel"> {
  readonly paint: (pen: Pen) => void;
  // Heard so that it can be kept from scrolling the page.
  readonly wheel?: (event: WheelEvent) => void;
}

export function Canvas({ paint, wheel, ...attributes }: CanvasProps): JSX.Element {
  const place = useRef<HTMLCanvasElement>(null);
  const latest = useRef({ paint, wheel });
  latest.current = { paint, wheel };
  const again = useRef<() => void>(() => undefined);
  const version = useStores().theme.version.value;
  useEffect(() => {
    const canvas = place.current;
    const ctx = canvas?.getContext("2d") ?? null;
    if (canvas === null || ctx === null) {
      return undefined;
    }
    const pen = penOf(ctx);
    let frame: number | undefined;
    again.current = (): void => {
      frame ??= requestAnimationFrame(() => {
        frame = undefined;
        drawn(canvas, pen, latest.current.paint);
      });
    };
    const observer = new ResizeObserver(again.current);
    observer.observe(canvas);
    const turned = (event: WheelEvent): void => latest.current.wheel?.(event);
    canvas.addEventListener("wheel", turned, { passive: false });
    return () => {
      observer.disconnect();
      canvas.removeEventListener("wheel", turned);
      if (frame !== undefined) {
        cancelAnimationFrame(frame);
      }
    };
  }, [version]);
  useEffect(() => again.current());
  return <canvas ref={place} aria-hidden="true" {...attributes} />;
}

function drawn(canvas: HTMLCanvasElement, pen: Omit<Pen, "width" | "height">, paint: (pen: Pen) => void): void {
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
  paint({ ...pen, width, height });
  canvas.dataset["paintMs"] = (performance.now() - began).toFixed(2);
}
