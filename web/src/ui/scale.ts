// How high a chart reaches, and which of its values need a dot.
import type { Line } from "../core/history";

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
