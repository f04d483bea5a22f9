// How high a chart reaches, where its axes are labelled, and which of its values need a dot.
import type { Line, Span } from "../core/history";

export interface Threshold {
  readonly value: number;
  readonly words: string;
  // Whether the scale reaches it however far it is from the data.
  readonly always?: boolean;
}

export interface Scale {
  // The least top, so that a quiet chart does not magnify noise.
  readonly top: number;
  // What the scale cannot go beyond, such as 100 %.
  readonly ceiling?: number;
  readonly threshold: Threshold | undefined;
}

export function lonely(values: Line): number[] {
  const alone: number[] = [];
  values.forEach((value, index) => {
    if (value !== null && (values[index - 1] ?? null) === null && (values[index + 1] ?? null) === null) {
      alone.push(index);
    }
  });
  return alone;
}

export function topOf(props: Scale, high: number | null): number {
  const data = Math.max(props.top, (high ?? 0) * 1.12);
  const threshold = props.threshold?.value ?? 0;
  // A threshold far above the data would press the data flat; its words in the header still tell it.
  const shown = threshold > 0 && (props.threshold?.always === true || threshold <= data * 2.5) ? Math.max(data, threshold * 1.2) : data;
  return Math.min(shown, Math.max(props.ceiling ?? shown, props.top));
}

// Where a chart begins that is about how far from the top something is: below the data and the threshold, and no lower than needed.
export function bottomOf(props: Scale & { readonly fromLowest?: boolean }, low: number | null): number {
  if (props.fromLowest !== true) {
    return 0;
  }
  const least = Math.min(low ?? props.top, props.threshold?.value ?? props.top);
  return Math.max(0, Math.floor(least - Math.max(1, (100 - least) * 0.25)));
}

const BETWEEN_PX = 34;
const APART_PX = 64;
const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const TIMES = [1, 2, 5, 10, 15, 30].flatMap((each) => [each * SECOND, each * MINUTE]);
const LONG_TIMES = [1, 2, 3, 6, 12, 24, 48, 96, 168].map((each) => each * HOUR);
const BY_LENGTH = [...TIMES, ...LONG_TIMES].sort((a, b) => a - b);

// What an axis of values counts in: one, two, two and a half or five of a power of ten, or of the steps that are given.
export function valueTicks(low: number, high: number, px: number, steps?: readonly number[]): number[] {
  const least = ((high - low) * BETWEEN_PX) / Math.max(px, BETWEEN_PX);
  const power = 10 ** Math.floor(Math.log10(least || 1));
  const plain = [1, 2, 2.5, 5, 10].map((each) => each * power);
  const step = (steps ?? []).find((each) => each >= least) ?? plain.find((each) => each >= least) ?? 10 * power;
  const first = Math.ceil(low / step - 1e-9);
  const count = Math.max(0, Math.floor(high / step + 1e-9) - first + 1);
  return Array.from({ length: Math.min(count, 50) }, (_each, index) => Number(((first + index) * step).toPrecision(12)));
}

// Whole minutes and hours of the place where the page is read.
export function timeTicks(span: Span, px: number): number[] {
  const least = ((span.to - span.from) * APART_PX) / Math.max(px, APART_PX);
  const step = BY_LENGTH.find((each) => each >= least) ?? 168 * HOUR;
  const zone = new Date(span.from).getTimezoneOffset() * MINUTE;
  const first = Math.ceil((span.from - zone) / step) * step + zone;
  const count = Math.max(0, Math.floor((span.to - first) / step) + 1);
  return Array.from({ length: Math.min(count, 100) }, (_each, index) => first + index * step);
}
