// A chart in the page: it follows its place's size, the theme and the pointer. Charts that share `at` share a crosshair.
import { type Signal, effect } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { Span } from "../core/history";
import { type Token, colourOf, fontOf } from "./colours";
import { type Picture, draw, frameOf, nearest } from "./plot";

export interface ChartProps extends Picture {
  // The point that is pointed at.
  readonly at: Signal<number | undefined>;
  readonly themeVersion: number;
  readonly zoom: (span: Span) => void;
  readonly reset: () => void;
}

const LEAST_DRAG_PX = 6;

export function Chart(props: ChartProps): JSX.Element {
  const place = useRef<HTMLCanvasElement>(null);
  const shown = useRef<Shown | undefined>(undefined);
  const latest = useRef(props);
  latest.current = props;
  useEffect(() => {
    if (place.current === null) {
      return undefined;
    }
    const made = new Shown(place.current, () => latest.current);
    shown.current = made;
    return () => made.end();
  }, [props.at]);
  useEffect(() => shown.current?.again());
  return (
    <div class="plot">
      <canvas ref={place} />
    </div>
  );
}

class Shown {
  readonly #ends: (() => void)[] = [];
  readonly #ctx: CanvasRenderingContext2D | null;
  #drag: [number, number] | undefined;
  #frame: number | undefined;
  #theme = -1;
  #colours = new Map<Token, string>();

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly read: () => ChartProps,
  ) {
    this.#ctx = canvas.getContext("2d");
    const observer = new ResizeObserver(() => this.again());
    observer.observe(canvas);
    const { at } = read();
    this.#ends.push(
      () => observer.disconnect(),
      effect(() => (void at.value, this.again())),
    );
    this.#on(canvas, "mousemove", (event) => this.#moved(event));
    this.#on(canvas, "mouseleave", () => (at.value = undefined));
    this.#on(canvas, "mousedown", (event) => this.#pressed(event));
    this.#on(canvas, "dblclick", () => this.read().reset());
    this.#on(window, "mousemove", (event) => this.#dragged(event));
    this.#on(window, "mouseup", () => this.#released());
  }

  // At the next frame, however often it is asked for until then.
  again(): void {
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = undefined;
      this.#draw();
    });
  }

  end(): void {
    this.#ends.forEach((each) => each());
    if (this.#frame !== undefined) {
      cancelAnimationFrame(this.#frame);
    }
  }

  #on(target: EventTarget, name: string, run: (event: MouseEvent) => void): void {
    const heard = run as EventListener;
    target.addEventListener(name, heard);
    this.#ends.push(() => target.removeEventListener(name, heard));
  }

  #draw(): void {
    const props = this.read();
    const { clientWidth, clientHeight } = this.canvas;
    const [width, height] = [Math.round(clientWidth * devicePixelRatio), Math.round(clientHeight * devicePixelRatio)];
    if (this.#ctx === null || width === 0 || height === 0) {
      return;
    }
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
    if (this.#theme !== props.themeVersion) {
      this.#theme = props.themeVersion;
      this.#colours.clear();
    }
    draw(this.#ctx, props, { index: props.at.peek(), drag: this.#drag }, (token) => this.#colour(token), fontOf());
  }

  #colour(token: Token): string {
    const known = this.#colours.get(token) ?? colourOf(token);
    this.#colours.set(token, known);
    return known;
  }

  #place(event: MouseEvent): number {
    return event.clientX - this.canvas.getBoundingClientRect().left;
  }

  #time(x: number): number {
    return frameOf(this.read(), this.canvas.clientWidth, this.canvas.clientHeight).time(x);
  }

  #moved(event: MouseEvent): void {
    const props = this.read();
    props.at.value = nearest(props, this.#time(this.#place(event)));
  }

  #pressed(event: MouseEvent): void {
    if (event.button === 0) {
      const x = this.#place(event);
      this.#drag = [x, x];
      event.preventDefault();
    }
  }

  #dragged(event: MouseEvent): void {
    if (this.#drag !== undefined) {
      this.#drag = [this.#drag[0], this.#place(event)];
      this.again();
    }
  }

  #released(): void {
    const drag = this.#drag;
    this.#drag = undefined;
    if (drag === undefined) {
      return;
    }
    this.again();
    const { span, zoom } = this.read();
    const [a, b] = drag.map((x) => Math.max(span.from, Math.min(span.to, this.#time(x)))).sort((one, other) => one - other) as [
      number,
      number,
    ];
    if (Math.abs(drag[1] - drag[0]) >= LEAST_DRAG_PX && b - a >= 1_000) {
      zoom({ from: Math.round(a), to: Math.round(b) });
    }
  }
}
